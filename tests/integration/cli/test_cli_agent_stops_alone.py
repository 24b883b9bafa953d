"""An agent that is told to stop does, whoever leaves it waiting."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import pytest

from tests.servers import faults
from tests.servers.cluster import Cluster, wait_until
from tests.servers.oci_faults import FaultyRegistry


@pytest.mark.slow
def test_while_neither_the_origin_nor_the_control_plane_answers(tmp_path: Path) -> None:
    """`Cluster` gives it as long as an init system would before it kills."""
    with FaultyRegistry() as registry, Cluster(tmp_path, 1) as cluster:
        registry.add_model("org/model", "v1", {"model.safetensors": random.Random(5).randbytes(1_000_000)})
        hold = faults.Hold()
        registry.inject(faults.held(hold), on="/org/model/blobs/")
        pull = cluster.pull(0, f"{registry.host}/org/model:v1", "--reconnect", "0")
        wait_until("the origin to be asked", hold.reached.is_set)
        os.kill(cluster.server.pid, signal.SIGSTOP)
        try:
            assert cluster.agents[0].stop() == 0
        finally:
            os.kill(cluster.server.pid, signal.SIGCONT)
            hold.resume.set()
        _, said = pull.communicate(timeout=60)
        assert "The agent stopped in mid-pull" in said
