"""The commands a person uses, one after the other, against a real registry."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from modelpack.layout import OciLayout
from tests.servers.registry import PASSWORD, USERNAME, Registry
from tests.servers.shell import Shell


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "bert", "architectures": ["BertModel"]}')
    (folder / "README.md").write_text("# A model\n")
    save_file({"embeddings": np.arange(300_000, dtype=np.float32)}, folder / "model.safetensors")
    return folder


def published(shell: Shell, registry: Registry, model: Path) -> str:
    reference = f"{registry.host}/org/model:v1"
    for arguments in (("build", str(model), "-t", reference), ("push", reference)):
        done = shell.run(*arguments)
        assert done.returncode == 0, done.stderr
    return reference


def test_build_push_pull_and_what_others_read(shell: Shell, registry: Registry, model: Path, tmp_path: Path) -> None:
    reference = published(shell, registry, model)
    raw = subprocess.run(
        ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{reference}"], capture_output=True, check=False
    )
    assert raw.returncode == 0, raw.stderr
    assert json.loads(raw.stdout)["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    snapshot = shell.pull(reference)
    assert {path.name: path.read_bytes() for path in snapshot.iterdir()} == {
        path.name: path.read_bytes() for path in model.iterdir()
    }
    copy = subprocess.run(
        ["skopeo", "copy", "--src-tls-verify=false", f"docker://{reference}", f"oci:{tmp_path / 'copy'}:v1"],
        capture_output=True,
        check=False,
    )
    assert copy.returncode == 0, copy.stderr
    assert shell.pull(f"oci-layout:{tmp_path / 'copy'}:v1").is_dir()


def test_a_model_that_is_here_moves_no_body(shell: Shell, registry: Registry, model: Path) -> None:
    reference = published(shell, registry, model)
    first = shell.pull(reference)
    registry.clear_log()
    assert shell.pull(reference) == first
    log = registry.access_log()
    assert all(access.method == "HEAD" for access in log), log
    assert shell.pull(reference, "--offline") == first


def test_listing_inspecting_removing(shell: Shell, registry: Registry, model: Path) -> None:
    reference = published(shell, registry, model)
    shell.pull(reference)
    (row,) = json.loads(shell.run("ls", "--json").stdout)
    assert reference in row["references"]
    assert "model" in shell.run("ls").stdout
    inspected = json.loads(shell.run("inspect", "--json", reference).stdout)
    assert "model.safetensors" in json.dumps(inspected)
    assert "model.safetensors" in shell.run("inspect", reference).stdout
    assert json.loads(shell.run("inspect", "--raw", reference).stdout)["layers"]
    assert shell.run("gc", "--dry-run").returncode == 0
    assert shell.run("rm", reference).returncode == 0
    assert json.loads(shell.run("ls", "--json").stdout) == []
    assert shell.run("gc", "--json").returncode == 0
    shell.fails(4, "rm", reference)


def test_what_was_built_is_removed(shell: Shell, registry: Registry, model: Path, tmp_path: Path) -> None:
    first, second = published(shell, registry, model), f"{registry.host}/org/second:v1"
    (model / "own.bin").write_bytes(b"own" * 10_000)
    assert shell.run("build", str(model), "-t", second).returncode == 0
    shutil.rmtree(model)  # what was built are links to its files
    (removed,) = json.loads(shell.run("rm", "--json", second).stdout)
    assert removed["bytes_freed"] >= 30_000
    shell.fails(4, "rm", second)
    shell.fails(4, "push", second)
    OciLayout.open(shell.store / "layout").verify()
    assert shell.run("push", first).returncode == 0
    shell.pull(first)
    assert "freed" in shell.run("rm", first).stdout
    assert not list((shell.store / "layout/blobs/sha256").iterdir())
    assert shell.run("ls").stdout == ""


def test_login_is_checked_before_it_is_kept(shell: Shell, tmp_path: Path, model: Path) -> None:
    with Registry(tmp_path / "closed", auth="basic") as registry:
        reference = f"{registry.host}/org/model:v1"
        assert shell.run("build", str(model), "-t", reference).returncode == 0
        assert shell.run("push", reference).returncode == 5
        wrong = shell.run("login", registry.host, "-u", USERNAME, "--password-stdin", stdin="wrong")
        assert wrong.returncode == 5
        assert "refuses this name and password" in wrong.stderr
        right = shell.run("login", registry.host, "-u", USERNAME, "--password-stdin", stdin=PASSWORD)
        assert right.returncode == 0, right.stderr
        assert PASSWORD not in right.stdout + right.stderr
        assert shell.run("push", reference).returncode == 0
        assert shell.pull(reference).is_dir()
        assert shell.run("logout", registry.host).returncode == 0
        assert shell.run("inspect", reference).returncode == 5


def test_small_commands(shell: Shell) -> None:
    assert shell.run("version").stdout == shell.run("--version").stdout
    assert "Did you mean 'pull'?" in shell.run("pul", "org/model").stderr
    assert "modeldist build DIR -t" in shell.fails(4, "push", "registry.example/org/model:v1")
    assert json.loads(shell.run("version", "--json").stdout)
    for kind in ("bash", "zsh", "fish"):
        script = shell.run("completion", kind)
        assert script.returncode == 0
        assert "modeldist" in script.stdout
    check = subprocess.run(["bash", "-n"], input=shell.run("completion", "bash").stdout, text=True, check=False)
    assert check.returncode == 0
    shell.fails(17, "pull", "--agent", "org/model:v1")


@pytest.mark.parametrize("arguments", [["--help"], ["pull", "--help"]], ids=["help", "pull help"])
def test_help_imports_nothing_heavy(shell: Shell, arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "modeldist", *arguments],
        env=shell.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert not imported & {"fastapi", "sqlalchemy", "pydantic_settings", "huggingface_hub", "httpx2", "cryptography"}


def test_bench_runs_benchmarks_and_names_what_it_does_not_know(shell: Shell) -> None:
    done = shell.run("bench", "simulator", "cold-8")
    assert done.returncode == 0, done.stderr
    assert "| cold-8 | 8 |" in done.stdout
    assert "no scenario is called 'cold-9'" in shell.run("bench", "cold-9").stderr


def test_help_after_the_name_of_a_benchmark_is_the_benchmarks(shell: Shell) -> None:
    done = shell.run("bench", "control", "--help")
    assert done.returncode == 0, done.stderr
    assert "--agents" in done.stdout
