"""What other people's programs read of ours, and we of theirs: modelpack-client, huggingface_hub."""

from __future__ import annotations

import json
import os
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
