"""`modeldist copy` as a person runs it, and as it is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelpack.layout import OciLayout
from tests.servers.registry import Registry
from tests.servers.shell import Shell

CHUNK = 16 * 1024 * 1024


@pytest.fixture
def second(tmp_path: Path) -> Iterator[Registry]:
    with Registry(tmp_path / "second") as running:
        yield running


def published(shell: Shell, registry: Registry, folder: Path, size: int) -> str:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "weights.bin").write_bytes((os.urandom(1 << 20) * (size >> 20))[:-4321])
    reference = f"{registry.host}/org/model:v1"
    assert shell.run("build", str(folder), "-t", reference).returncode == 0
    assert shell.run("push", reference).returncode == 0
    registry.clear_log()
    return reference


def test_copy_between_registries_and_layouts(
    shell: Shell, registry: Registry, second: Registry, tmp_path: Path
) -> None:
    reference = published(shell, registry, tmp_path / "model", 2 << 20)
    done = shell.run("copy", "--json", reference, f"{second.host}/mirror/model")
    assert done.returncode == 0, done.stderr
    copied = json.loads(done.stdout)
    assert copied["bytes_sent"] > 2_000_000
    assert copied["reference"] == f"{second.host}/mirror/model@{copied['digest']}"
    assert (shell.pull(f"{second.host}/mirror/model:v1") / "weights.bin").read_bytes() == (
        tmp_path / "model" / "weights.bin"
    ).read_bytes()
    away = tmp_path / "layout"
    assert shell.run("copy", f"{second.host}/mirror/model:v1", f"oci-layout:{away}").returncode == 0
    OciLayout.open(away).verify()
    again = shell.run("copy", f"oci-layout:{away}:v1", f"{registry.host}/org/again:v2", "--json")
    assert json.loads(again.stdout)["digest"] == copied["digest"]


def test_copy_says_what_is_wrong(shell: Shell, registry: Registry, tmp_path: Path) -> None:
    there = f"{registry.host}/org/model"
    assert "tag v9" in shell.fails(4, "copy", f"{there}:v9", f"{there}:v8")
    assert "no OCI image layout" in shell.fails(4, "copy", f"oci-layout:{tmp_path / 'none'}:v1", there)
    assert "--platform" in shell.fails(2, "copy", "--platform", "linux/arm64", "--model", f"{there}:v9", there)


def test_a_copy_that_is_stopped_and_killed_goes_on_in_mid_blob(
    shell: Shell, registry: Registry, second: Registry, tmp_path: Path
) -> None:
    size = 5 * CHUNK
    reference = published(shell, registry, tmp_path / "model", size)
    target = f"{second.host}/org/model:v1"

    def interrupted(after: int, signum: signal.Signals) -> tuple[int, str]:
        """A copy that gets the signal once the target has finished so many more chunks."""
        log = tmp_path / "second" / "stdout.log"
        until = log.read_text().count('"PATCH ') + after
        running = shell.start("copy", reference, target)
        deadline = time.monotonic() + 60
        while log.read_text().count('"PATCH ') < until:
            assert time.monotonic() < deadline and running.poll() is None
            time.sleep(0.002)
        os.kill(running.pid, signum)
        _, said = running.communicate()
        return running.returncode, said

    code, said = interrupted(1, signal.SIGINT)
    assert code == 130
    assert "copy again to go on" in said
    code, _ = interrupted(1, signal.SIGKILL)
    assert code == -signal.SIGKILL
    done = shell.run("copy", "--json", reference, target)
    assert done.returncode == 0, done.stderr
    copied = json.loads(done.stdout)
    assert copied["bytes_present"] >= 2 * CHUNK
    assert copied["bytes_sent"] <= size - 2 * CHUNK
    assert registry.blob_bytes() < size + 3 * CHUNK  # nothing was read twice but what each had read ahead
    assert (shell.pull(target) / "weights.bin").read_bytes() == (tmp_path / "model" / "weights.bin").read_bytes()
    chunks = [access for access in second.access_log() if access.method == "PATCH"]
    assert len(chunks) == 5  # no chunk was sent twice
    assert {access.status for access in chunks} == {202}
    assert not any((shell.store / "uploads").iterdir())


def test_a_copy_keeps_little_in_memory(shell: Shell, registry: Registry, second: Registry, tmp_path: Path) -> None:
    """Two chunks of each blob on its way, whatever its size."""
    (tmp_path / "model").mkdir()
    with (tmp_path / "model" / "weights.bin").open("wb") as file:
        file.truncate(7 * CHUNK)
    reference = f"{registry.host}/org/model:v1"
    assert shell.run("build", str(tmp_path / "model"), "-t", reference).returncode == 0
    assert shell.run("push", reference).returncode == 0
    program = """
import resource, subprocess, sys
subprocess.run([sys.executable, "-m", "modeldist", *sys.argv[1:]], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, "copy", reference, f"{second.host}/org/model:v1"],
        env=shell.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 150  # MiB; the interpreter and its modules take 60
