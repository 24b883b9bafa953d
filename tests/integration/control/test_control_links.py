"""Links of agents that are processes, measured and shown by REST, in the clear and where nodes must speak TLS."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.servers.cluster import Cluster, wait_until

MIB = 1 << 20
LIMITED = {3: {"MODELDIST_AGENT_UPLOAD_RATE": str(4 << 20)}}


def traffic(cluster: Cluster) -> dict[str, dict[str, Any]]:
    """By the nodes' addresses, in which they differ."""
    headers = {"Authorization": f"Bearer {cluster.token('admin')}"}
    answer = httpx2.get(f"{cluster.url}/api/v1/nodes", headers=headers).raise_for_status().json()
    return {node["address"]: node["traffic"] for node in answer["nodes"] if node["traffic"]}


@pytest.mark.parametrize("piece_tls", ["", "require"])
def test_the_node_with_an_upload_limit_is_the_one_that_sends_slowly(tmp_path: Path, piece_tls: str) -> None:
    with Cluster(tmp_path, agents=4, nodes=LIMITED, piece_tls=piece_tls) as cluster:

        def measured() -> bool:
            found = traffic(cluster)
            return len(found) == 4 and all(each["link_age"] is not None for each in found.values())

        wait_until("links that were measured", measured)
        found = traffic(cluster)
        assert all(each["link_receives"] > 8 * MIB for each in found.values())
        assert sorted(each["link_sends"] > 8 * MIB for each in found.values()) == [False, True, True, True]


def test_a_control_plane_may_be_told_not_to(tmp_path: Path) -> None:
    with Cluster(tmp_path, agents=4, environment={"MODELDIST_SERVER_MEASURE_LINKS": "false"}) as cluster:
        time.sleep(5.0)  # as long as measuring would take, and some more
        found = traffic(cluster)
        assert len(found) == 4
        assert all(each["link_age"] is None for each in found.values())
