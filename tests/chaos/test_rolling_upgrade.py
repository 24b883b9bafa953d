"""Control plane and agents are replaced one by one by a next version, in both orders, while a model is pulled."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

from modeldist.client import Client
from modeldist.scheduler.pieces import piece_size_for
from modeldist.session.messages import PROTOCOL
from tests.chaos.moments import slow_scene
from tests.chaos.on_disk import assert_right, assert_sound
from tests.servers.cluster import wait_until
from tests.servers.oci_faults import FaultyRegistry
from tests.servers.postgres_cluster import PostgresCluster
from tests.servers.replicated_cluster import ReplicatedCluster

NEXT = (sys.executable, str(Path(__file__).parents[1] / "servers" / "next_version.py"))
WEIGHTS = 80_000_000
RATE = 60_000  # bytes/s of one connection to the origin: the pull is to outlive all replacements, on a busy machine too
STREAMS = 4  # of an agent, at the origin
GOES_ON = 1  # pieces from the origin after each replacement
AGENTS = 2


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_rolling_upgrade_while_a_model_is_pulled(
    rng: random.Random, faulty: FaultyRegistry, postgres: PostgresCluster, tmp_path: Path
) -> None:
    """The first agent is newer than the control plane, the second is older than it for a while."""
    scene = slow_scene(faulty, rng, weights=WEIGHTS, rate=RATE)
    piece = piece_size_for(WEIGHTS)

    def goes_on() -> None:
        before = scene.sent()
        wait_until("the pull to go on", lambda: scene.sent() >= before + GOES_ON * piece)
        assert scene.sent() < scene.size, "the pull is over too soon"

    with ReplicatedCluster(tmp_path, AGENTS, database_url=postgres.new_database()) as cluster:
        with Client(cluster.url, cluster.token("admin")) as client:
            pull = client.create_pull(scene.reference, "all")
            goes_on()
            _replace_agent(cluster, 0)
            goes_on()
            leader = cluster.wait_led()
            for replica in (1 - leader, leader):
                cluster.replicas[replica].stop()
                cluster.replicas[replica].command = NEXT
                cluster.replicas[replica].start()
                cluster.wait_led()
                goes_on()
            _replace_agent(cluster, 1)
            faulty.heal()
            ended = client.wait(pull.id, timeout=60)
        for node in ended.nodes:
            assert_right(Path(node.path), scene.files)
        for index in range(AGENTS):
            assert_sound(cluster.store(index))
        said = "".join(replica.log for replica in cluster.replicas)
        for who, protocol in (("node-0", PROTOCOL), ("node-0", PROTOCOL + 1), ("node-1", PROTOCOL)):
            assert any(f"({who})" in line and f"protocol {protocol}" in line for line in said.splitlines()), (who, said)

    again = scene.sent() - scene.size
    print(f"\nall replaced: A = {1 + again / scene.size:.4f}, {again} of {scene.size} bytes read again")
    assert again <= AGENTS * STREAMS * piece, "more than what the replaced agents were in the middle of"


def _replace_agent(cluster: ReplicatedCluster, index: int) -> None:
    agent = cluster.agents[index]
    assert agent.stop() == 0, agent.log
    agent.command = NEXT
    agent.start()
    cluster.wait_joined(index)
