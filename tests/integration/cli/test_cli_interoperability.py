"""What other people's programs read of ours, and we of theirs: modelpack-client, huggingface_hub."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest

from tests.servers.hub import Hub
from tests.servers.registry import Registry
from tests.servers.shell import Shell

FILES = {
    "README.md": b"# A model\n",
    "config.json": b'{"model_type": "bert"}',
    "model.safetensors": (80).to_bytes(8, "little")
    + b'{"w":{"dtype":"F32","shape":[250000],"data_offsets":[0,1000000]}}'.ljust(80)
    + os.urandom(1_000_000),
}
CONFIG = {
    "descriptor": {"name": "theirs", "version": "1"},
    "config": {"format": "safetensors"},
    "modelfs": {"type": "layers", "diffIds": []},
}
KINDS = {"README.md": "doc", "config.json": "weight.config", "model.safetensors": "weight"}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    return folder


def modelpack_client(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "modelpack_client", "--insecure", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_modelpack_client_pulls_what_we_pushed(shell: Shell, registry: Registry, model: Path, tmp_path: Path) -> None:
    reference = f"{registry.host}/org/ours:v1"
    assert shell.run("build", str(model), "-t", reference).returncode == 0
    assert shell.run("push", reference).returncode == 0
    modelpack_client("pull", reference, str(tmp_path / "theirs"))
    assert contents(tmp_path / "theirs") == FILES


def test_we_pull_what_modelpack_client_pushed(shell: Shell, registry: Registry, model: Path, tmp_path: Path) -> None:
    import hashlib

    reference = f"{registry.host}/org/theirs:v1"
    diff_ids = [f"sha256:{hashlib.sha256(FILES[name]).hexdigest()}" for name in KINDS]
    config = tmp_path / "config.json"
    config.write_text(json.dumps({**CONFIG, "modelfs": {"type": "layers", "diffIds": diff_ids}}))
    layers = [f"--layer={model / name}:application/vnd.cncf.model.{kind}.v1.raw" for name, kind in KINDS.items()]
    modelpack_client("push", reference, "--config", str(config), *layers)
    assert contents(shell.pull(reference)) == FILES


def test_huggingface_hub_finds_offline_what_was_pulled_from_a_hub(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Hub(cdn=True) as hub:
        commit = hub.commit("org/model", FILES)
        shell.environment["HF_ENDPOINT"] = hub.url
        path = shell.pull("hf://org/model")
        assert contents(path) == FILES
        moved = hub.body_bytes()
        assert shell.pull("hf://org/model") == path
        assert hub.body_bytes() == moved
    # the hub is gone: only the cache can answer
    found = subprocess.run(
        [
            sys.executable,
            "-c",
            "import huggingface_hub; print(huggingface_hub.snapshot_download('org/model', local_files_only=True))",
        ],
        env={**shell.environment, "HF_HUB_CACHE": str(shell.store / "hub"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert Path(found.stdout.strip()) == path
    assert path.name == commit
    assert not huggingface_hub.scan_cache_dir(shell.store / "hub").warnings


needs_skopeo = pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")


def skopeo(*arguments: str) -> None:
    done = subprocess.run(["skopeo", *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


def published(shell: Shell, registry: Registry, model: Path, name: str = "ours") -> str:
    """The pinned reference of what was built and pushed."""
    reference = f"{registry.host}/org/{name}:v1"
    assert shell.run("build", str(model), "-t", reference).returncode == 0
    done = shell.run("push", reference)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@needs_skopeo
def test_skopeo_takes_a_model_away_and_brings_it_back(
    shell: Shell, registry: Registry, model: Path, tmp_path: Path
) -> None:
    pinned = published(shell, registry, model)
    away = tmp_path / "away"
    skopeo("copy", "--preserve-digests", "--src-tls-verify=false", f"docker://{pinned}", f"oci:{away}:v1")
    # its layout is read by us
    assert shell.run("extract", f"oci-layout:{away}:v1", "-o", str(tmp_path / "files")).returncode == 0
    assert contents(tmp_path / "files") == FILES
    # and it pushes one that we made
    ours = tmp_path / "ours"
    assert shell.run("copy", pinned, f"oci-layout:{ours}:v2").returncode == 0
    back = f"{registry.host}/org/back:v2"
    skopeo("copy", "--preserve-digests", "--dest-tls-verify=false", f"oci:{ours}:v2", f"docker://{back}")
    assert contents(shell.pull(back)) == FILES
    digest = pinned.partition("@")[2]
    assert json.loads(shell.run("inspect", "--json", back).stdout)["digest"] == digest


def test_oras_pulls_what_we_pushed(shell: Shell, registry: Registry, model: Path, tmp_path: Path) -> None:
    from oras.client import OrasClient

    pinned = published(shell, registry, model)
    OrasClient(insecure=True).pull(target=pinned, outdir=str(tmp_path / "theirs"))
    assert contents(tmp_path / "theirs") == FILES


def test_we_pull_what_oras_pushed(
    shell: Shell, registry: Registry, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hashlib

    from oras.client import OrasClient

    reference = f"{registry.host}/org/by-oras:v1"
    diff_ids = [f"sha256:{hashlib.sha256(FILES[name]).hexdigest()}" for name in KINDS]
    config = tmp_path / "model-config.json"
    config.write_text(json.dumps({**CONFIG, "modelfs": {"type": "layers", "diffIds": diff_ids}}))
    monkeypatch.chdir(model)  # it names files by the path it is given
    OrasClient(insecure=True).push(
        target=reference,
        files=[f"{name}:application/vnd.cncf.model.{kind}.v1.raw" for name, kind in KINDS.items()],
        manifest_config=f"{config}:application/vnd.cncf.model.config.v1+json",
        disable_path_validation=True,
        quiet=True,
    )
    assert contents(shell.pull(reference)) == FILES
    copied = f"{registry.host}/org/copied:v1"
    assert shell.run("copy", reference, copied).returncode == 0
    OrasClient(insecure=True).pull(target=copied, outdir=str(tmp_path / "theirs"))
    assert contents(tmp_path / "theirs") == FILES


def test_we_pull_files_that_oras_pushed_as_nothing_else(
    shell: Shell, registry: Registry, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from oras.client import OrasClient

    (model / "onnx").mkdir()
    (model / "onnx" / "model.onnx").write_bytes(b"graph")
    monkeypatch.chdir(model)
    reference = f"{registry.host}/org/files:v1"
    OrasClient(insecure=True).push(target=reference, files=[*FILES, "onnx"], disable_path_validation=True, quiet=True)
    path = shell.pull(reference)
    assert {name.relative_to(path).as_posix() for name in path.rglob("*") if name.is_file()} == {
        *FILES,
        "onnx/model.onnx",
    }
    assert contents(path) == {**FILES, "model.onnx": b"graph"}
    about = json.loads(shell.run("inspect", reference, "--json").stdout)
    assert about["dialect"] == "oras"
    assert {file["path"]: file["kind"] for file in about["files"]} == {**KINDS, "onnx": "other"}


def test_a_hugging_face_cache_becomes_a_model_and_that_a_cache_again(
    shell: Shell, registry: Registry, tmp_path: Path
) -> None:
    """huggingface_hub downloads, we build, push and pull; huggingface_hub and safetensors load what came, offline."""
    downloaded = tmp_path / "cache"
    with Hub() as hub:
        hub.commit("org/model", FILES)
        snapshot = huggingface_hub.snapshot_download("org/model", cache_dir=downloaded, endpoint=hub.url, token=False)
    assert Path(snapshot, "model.safetensors").is_symlink()
    reference = f"{registry.host}/org/model:v1"
    assert shell.run("build", snapshot, "-t", reference).returncode == 0
    assert shell.run("push", reference).returncode == 0
    path = shell.pull(reference)
    assert contents(path) == FILES
    program = """
import sys
from huggingface_hub import scan_cache_dir, snapshot_download
from safetensors import safe_open
(repo,) = scan_cache_dir().repos
(revision,) = repo.revisions
folder = snapshot_download(repo.repo_id, revision=revision.commit_hash, local_files_only=True)
with safe_open(f"{folder}/model.safetensors", "np") as weights:
    sys.stdout.buffer.write(weights.get_tensor("w").tobytes())
"""
    loaded = subprocess.run(
        [sys.executable, "-c", program],
        env={**shell.environment, "HF_HUB_CACHE": str(shell.store / "hub"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        check=False,
    )
    assert loaded.returncode == 0, loaded.stderr.decode()
    assert loaded.stdout == FILES["model.safetensors"][-1_000_000:]
