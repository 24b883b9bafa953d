"""`modeldist pull --wait`: agents, control planes and origins that come up later."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from tests.servers.cluster import MODELDIST, Cluster
from tests.servers.oci_faults import FaultyRegistry
from tests.servers.shell import Shell

FILES = {"config.json": b"{}", "model.safetensors": b"w" * 100_000}


def waiting(started: subprocess.Popen[str], about: str) -> None:
    """Return when it has said that it waits, and what for."""
    assert started.stderr is not None
    said = []
    for line in started.stderr:
        if line.startswith("modeldist: Waiting") and about in line:
            return
        said.append(line)
    raise AssertionError(f"it did not wait for {about}: {said}")


@pytest.mark.slow
def test_an_agent_and_its_control_plane_are_waited_for(tmp_path: Path, faulty: FaultyRegistry) -> None:
    faulty.add_model("org/model", "v1", FILES)
    with Cluster(tmp_path, agents=1) as cluster:
        cluster.agents[0].stop()
        cluster.server.stop()
        started = subprocess.Popen(
            [*MODELDIST, "pull", "--agent", "--wait", f"{faulty.host}/org/model:v1", "--exec", "ls", "{}"],
            env=cluster.environment(0),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        waiting(started, "No agent listens")
        cluster.agents[0].start()
        waiting(started, "control plane")
        cluster.start_server()
        out, err = started.communicate(timeout=110)
        assert (started.returncode, out.split()) == (0, sorted(FILES)), err


def test_an_origin_is_waited_for(shell: Shell, faulty: FaultyRegistry) -> None:
    faulty.add_model("org/model", "v1", FILES)
    faulty.die()
    started = shell.start("pull", "--wait", f"{faulty.host}/org/model:v1")
    waiting(started, faulty.host)
    faulty.restart()
    out, err = started.communicate(timeout=110)
    assert started.returncode == 0, err
    assert {path.name: path.read_bytes() for path in Path(out.strip()).iterdir()} == FILES


def test_waiting_has_a_limit_and_can_be_stopped(shell: Shell) -> None:
    said = shell.fails(17, "pull", "--quiet", "--agent", "--wait", "--wait-limit", "0", "org/model:v1")
    assert "After 0.0 s of waiting: No agent listens" in said
    assert "not a duration" in shell.fails(2, "pull", "--wait", "--wait-limit", "soon", "org/model:v1")
    assert "Add --wait." in shell.fails(2, "pull", "--wait-limit", "10m", "org/model:v1")
    for signum in (signal.SIGINT, signal.SIGTERM):
        started = shell.start("pull", "--agent", "--wait", "org/model:v1")
        waiting(started, "No agent listens")
        started.send_signal(signum)
        _, err = started.communicate(timeout=110)
        assert (started.returncode, err) == (130, "modeldist: Stopped.\n")


def test_what_does_not_exist_is_not_waited_for(shell: Shell, faulty: FaultyRegistry) -> None:
    shell.fails(4, "pull", "--wait", f"{faulty.host}/org/model:v1")
