"""`modeldist env`: unmodified programs find what was pulled."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers.cluster import MODELDIST, Cluster
from tests.servers.hub import Hub
from tests.servers.oci_faults import FaultyRegistry
from tests.servers.shell import Shell

FILES = {"config.json": b'{"model_type": "llama"}', "model.safetensors": b"w" * 100_000}
ASK_HUB = "from huggingface_hub import snapshot_download; print(snapshot_download('org/model'))"


def as_a_person_does(shell: Shell, script: str) -> subprocess.CompletedProcess[str]:
    """A script of `sh` in which `modeldist` and `python` are those of this environment."""
    called = f'modeldist() {{ "{MODELDIST[0]}" -m modeldist "$@"; }}\npython() {{ "{sys.executable}" "$@"; }}\n'
    return subprocess.run(
        ["sh", "-ec", called + script],
        env=shell.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )


def test_a_library_finds_a_pulled_model_with_nobody_to_ask(tmp_path: Path) -> None:
    with Hub() as hub:
        hub.commit("org/model", FILES)
        shell = Shell(tmp_path, HF_ENDPOINT=hub.url)
        snapshot = shell.pull("hf://org/model")
    done = as_a_person_does(shell, f'eval "$(modeldist env --offline)"\npython -c "{ASK_HUB}"')
    assert done.stdout == f"{snapshot}\n", done.stderr


def test_a_model_that_is_here_is_named_and_nobody_is_asked(shell: Shell, faulty: FaultyRegistry) -> None:
    faulty.add_model("org/model", "v1", FILES)
    reference = f"{faulty.host}/org/model:v1"
    snapshot = shell.pull(reference)
    before = len(faulty.seen())
    done = as_a_person_does(shell, f'eval "$(modeldist env {reference})"\ncat "$MODELDIST_MODEL/config.json"')
    assert done.stdout.encode() == FILES["config.json"], done.stderr
    told = json.loads(shell.run("env", "--json", "--offline", reference).stdout)
    assert told == {
        "HF_HUB_CACHE": str(shell.store / "hub"),
        "HF_HUB_OFFLINE": "1",
        "MODELDIST_MODEL": str(snapshot),
    }
    assert shell.run("env", "--shell", "fish").stdout == f"set -gx HF_HUB_CACHE {shell.store / 'hub'}\n"
    assert len(faulty.seen()) == before


def test_another_hub_directory_is_the_one_that_is_named(shell: Shell, faulty: FaultyRegistry, tmp_path: Path) -> None:
    faulty.add_model("org/model", "v1", FILES)
    reference, other = f"{faulty.host}/org/model:v1", str(tmp_path / "other hub")
    snapshot = shell.pull(reference, "--hub", other)
    told = json.loads(shell.run("env", "--json", "--hub", other, reference).stdout)
    assert told == {"HF_HUB_CACHE": other, "MODELDIST_MODEL": str(snapshot)}
    assert reference in shell.fails(4, "env", reference)


def test_what_is_not_here_or_no_reference_is_said(shell: Shell) -> None:
    said = shell.fails(4, "env", "127.0.0.1:1/org/model:v1")
    assert "127.0.0.1:1/org/model:v1 is not on this machine" in said
    assert "`modeldist pull`" in said
    assert not shell.store.exists()  # looking makes nothing
    shell.fails(2, "env", "not a reference")
    assert "No agent listens" in shell.fails(17, "env", "--agent")


def test_the_agents_hub_is_the_one_that_is_named(
    tmp_path: Path, faulty: FaultyRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty.add_model("org/model", "v1", FILES)
    reference = f"{faulty.host}/org/model:v1"
    monkeypatch.setenv("TRANSFORMERS_CACHE", "/elsewhere")
    with Cluster(tmp_path, agents=1) as cluster:
        absent = cluster.run(0, "env", reference)
        assert (absent.returncode, absent.stdout) == (4, "")
        assert "is not on this machine" in absent.stderr
        path = cluster.run(0, "pull", reference).stdout.strip()
        told = cluster.run(0, "env", "--json", reference)
        assert "TRANSFORMERS_CACHE is set (/elsewhere)" in told.stderr
        assert json.loads(told.stdout) == {"HF_HUB_CACHE": str(cluster.store(0) / "hub"), "MODELDIST_MODEL": path}
