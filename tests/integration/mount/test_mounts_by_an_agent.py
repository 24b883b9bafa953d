"""`modeldist mount` by the node's agent, which may stop while the mount goes on."""

from __future__ import annotations

import errno
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.integration.mount.mounts import MIB, Shell, needs_fuse
from tests.integration.mount.test_mounted_models import content, readable, tree
from tests.servers.cluster import PATIENCE, Cluster, wait_until
from tests.servers.hub import Hub
from tests.servers.loopback_http import Fault

pytestmark = needs_fuse


def test_a_mount_outlasts_the_agent_that_brings_its_model(hub: Hub, tmp_path: Path, gate: threading.Event) -> None:
    files = {"config.json": b"{}", "model.safetensors": content("agent", 12 * MIB)}
    hub.commit("org/agent", files)
    hub.fail(Fault(path="model.safetensors", method="GET", hold_at=MIB // 8, times=99, until=gate))
    with Cluster(tmp_path.resolve(), agents=1, environment={"HF_ENDPOINT": hub.url}) as cluster:
        shell = Shell(tmp_path.resolve(), cluster.environment(0))
        with shell.mounted("hf://org/agent", "--agent") as mount, ThreadPoolExecutor() as pool:
            reading = pool.submit((mount.directory / "model.safetensors").read_bytes)
            cluster.agents[0].kill()
            with pytest.raises(OSError) as caught:
                reading.result(PATIENCE)
            assert caught.value.errno == errno.EIO
            assert "does not arrive" in mount.said
            gate.set()
            hub.heal()
            cluster.agents[0].start()
            wait_until("it to be opened again", lambda: readable(mount.directory / "model.safetensors"), seconds=90)
            assert "opened again" in mount.said
            assert tree(mount.directory) == files
