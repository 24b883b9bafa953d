"""kill -9 of the leader among the control plane's replicas, again and again during one large pull."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

import pytest

from modeldist.client import Client
from modeldist.control.views import PullView
from modeldist.scheduler.pieces import piece_size_for
from tests.chaos.moments import Scene, slow_scene
from tests.chaos.on_disk import assert_right, assert_sound, read_ranges, size_of, united
from tests.servers.cluster import finish, wait_until
from tests.servers.oci_faults import FaultyRegistry
from tests.servers.postgres_cluster import PostgresCluster
from tests.servers.replicated_cluster import ReplicatedCluster, probe

KILLS = 10
AGENTS = 3
WEIGHTS = 96_000_000
RATE = 60_000  # bytes/s of one connection to the origin: the pull is to outlive all kills
GOES_ON = 3  # pieces that come from the origin under a leader before that one is killed


class Waiting(threading.Thread):
    """Follows a pull's events from the beginning to its end, over all hand-overs."""

    def __init__(self, cluster: ReplicatedCluster, reference: str) -> None:
        super().__init__(daemon=True)
        self._client = Client(cluster.url, cluster.token("admin"))
        self.pull = self._client.create_pull(reference, "all")
        self.ended: PullView | None = None

    def run(self) -> None:
        with self._client as client:
            for event in client.follow(self.pull.id):
                if event.kind == "end":
                    self.ended = event.pull


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ten_leaders_are_killed_during_one_pull(
    rng: random.Random, faulty: FaultyRegistry, postgres: PostgresCluster, tmp_path: Path
) -> None:
    scene = slow_scene(faulty, rng, weights=WEIGHTS, rate=RATE)
    piece = piece_size_for(WEIGHTS)
    with ReplicatedCluster(tmp_path, AGENTS, database_url=postgres.new_database()) as cluster:
        waiting = Waiting(cluster, scene.reference)
        waiting.start()
        pulling = cluster.pull(0, scene.reference)
        try:
            leads, reads = zip(*(_kill_the_leader(cluster, scene, piece) for _ in range(KILLS)), strict=True)
            assert scene.sent() < scene.size, "the pull was over before the last kill"
            faulty.heal()
            result = finish(pulling)
        finally:
            if pulling.poll() is None:
                pulling.kill()
            pulling.communicate()
        waiting.join(60)
        assert waiting.ended is not None, "the pull's events never came to their end"
        assert waiting.ended.state == "done", waiting.ended
        snapshots = [Path(node.path) for node in waiting.ended.nodes]
        assert len(snapshots) == AGENTS
        for snapshot in (*snapshots, Path(result["path"])):
            assert_right(snapshot, scene.files)
        for index in range(AGENTS):
            assert_sound(cluster.store(index))

    asked = read_ranges(scene.reads())
    again = size_of(asked) - size_of(united(asked))
    print(f"\nleader killed {KILLS} times: A = {1 + again / scene.size:.4f}, {again} of {scene.size} bytes read again")
    print(f"seconds until another one led: {' '.join(f'{seconds:.2f}' for seconds in leads)}")
    print(f"seconds until it had had a piece read at the origin: {' '.join(f'{seconds:.2f}' for seconds in reads)}")
    assert size_of(united(asked)) == scene.size
    assert again <= KILLS * piece


def _kill_the_leader(cluster: ReplicatedCluster, scene: Scene, piece: int) -> tuple[float, float]:
    """(seconds until another one leads, until the origin reads that it granted began)."""
    leader = cluster.wait_led()
    wait_until("another one to stand by", lambda: probe(cluster.ports[1 - leader], "/healthz") == 200)
    before = scene.sent()
    wait_until("the origin to be read", lambda: scene.sent() >= before + GOES_ON * piece)
    cluster.replicas[leader].kill()
    killed = time.monotonic()
    cluster.replicas[leader].start()
    cluster.wait_led()
    led = time.monotonic() - killed
    granted = len(scene.reads())
    wait_until("a new origin read", lambda: len(scene.reads()) > granted)
    return led, time.monotonic() - killed
