"""What holds a pull up is staged, with real processes, and `modeldist why` asked: it names that and nothing else.

TIMES in the environment: how often each of the six cases is staged.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from tests.chaos.matrix.disks import Disk
from tests.chaos.matrix.parties import strokes
from tests.operations.slow_way import SlowWay
from tests.servers import faults
from tests.servers.cluster import Cluster, finish
from tests.servers.cluster import wait_until as waited
from tests.servers.oci_faults import FaultyRegistry

PATIENCE = 120.0  # seconds, for seven agents that start at once on a busy machine
TIMES = int(os.environ.get("TIMES", "2"))
SEED, CHILD, LIMITED, WITHOUT_RDMA, SLOW_DISK, SMALL_DISK, CAPPED = range(7)  # nodes
LIMIT = 3_000_000  # bytes/s
SLOW = 1_500_000  # bytes/s of an origin's answer, or of a parent
SIZE = 40_000_000  # bytes of a model
LARGE = 400_000_000  # bytes; more than a slow disk takes between two strokes
LOOKED = 2.5  # seconds of a pull that are looked at
FROZEN, THAWED = 0.6, 0.02  # seconds of each stroke
TOKEN = "Basic " + base64.b64encode(b"user:secret").decode()

numbers = itertools.count()
wait_until = partial(waited, seconds=PATIENCE)


@pytest.fixture(scope="module")
def private() -> Iterator[FaultyRegistry]:
    with FaultyRegistry(challenge='Basic realm="models"', accepts=(TOKEN,)) as running:
        yield running


@pytest.fixture(scope="module")
def disks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Disk, Disk]]:
    home = tmp_path_factory.mktemp("disks")
    slow = Disk(home / "slow.img", home / "slow", 4 << 30)
    small = Disk(home / "small.img", home / "small", 24 << 20)
    try:
        yield slow, small
    finally:
        for disk in (slow, small):
            disk.thaw()
            disk.unmount()


@pytest.fixture(scope="module")
def way() -> Iterator[SlowWay]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with SlowWay(f"127.0.0.1:{port}", SLOW) as running:
        yield running


@pytest.fixture(scope="module")
def cluster(
    tmp_path_factory: pytest.TempPathFactory, private: FaultyRegistry, disks: tuple[Disk, Disk], way: SlowWay
) -> Iterator[Cluster]:
    home = tmp_path_factory.mktemp("why")
    secrets = home / "docker"
    secrets.mkdir()
    auth = {"auths": {private.host: {"auth": TOKEN.removeprefix("Basic ")}}}
    (secrets / "config.json").write_text(json.dumps(auth))
    nodes = {
        SEED: {"MODELDIST_AGENT_LISTEN": way.target, "MODELDIST_AGENT_ADVERTISE": way.address},
        LIMITED: {"MODELDIST_AGENT_DOWNLOAD_RATE": str(LIMIT)},
        WITHOUT_RDMA: {"MODELDIST_AGENT_RDMA_DEVICES": "mlx5_0"},
        SLOW_DISK: {"MODELDIST_AGENT_STORE": str(disks[0].path / "store")},
        SMALL_DISK: {"MODELDIST_AGENT_STORE": str(disks[1].path / "store")},
        CAPPED: {"MODELDIST_AGENT_UPLOAD_RATE": str(LIMIT)},
    }
    with Cluster(
        home / "cluster", 7, environment={"DOCKER_CONFIG": str(secrets)}, nodes=nodes, patience=PATIENCE
    ) as running:
        yield running


def published(registry: FaultyRegistry, size: int = SIZE) -> str:
    """A model that nobody has yet."""
    name = f"org/model-{next(numbers)}"
    registry.add_model(name, "v1", {"model.safetensors": name.encode().ljust(size, b"\0")})
    return f"{registry.host}/{name}:v1"


def why(cluster: Cluster, node: int, reference: str) -> dict[str, Any]:
    told = cluster.run(node, "why", "--json", reference)
    assert told.returncode == 0, told.stderr
    found: dict[str, Any] = json.loads(told.stdout)
    return found


def explained(cluster: Cluster, node: int, reference: str, looked: float = LOOKED) -> dict[str, Any]:
    """Once it has run for a while, for the most part not finding out what it is to bring, which takes as long on a
    busy machine or a disk that stands still; it must not have ended by then."""
    found: dict[str, Any] = {}

    def looked_at() -> bool:
        found.update(why(cluster, node, reference))
        where = found["pull"]["where"]
        return bool(where["window"] >= looked and where.get("lately", {}).get("resolve", 0.0) < where["window"] / 2)

    wait_until("the pull to run for a while", looked_at)
    assert found["pull"]["state"] == "pulling", found
    assert found["evidence"]
    return found


@contextmanager
def pulling(cluster: Cluster, node: int, reference: str) -> Iterator[subprocess.Popen[str]]:
    running = cluster.pull(node, reference)

    def begun() -> bool:
        return cluster.run(node, "why", "--json", reference).returncode == 0

    try:
        wait_until("the pull to begin", begun)
        yield running
    finally:
        if running.poll() is None:
            running.terminate()
        running.communicate(timeout=60)


repeated = pytest.mark.parametrize("_time", range(TIMES))


@repeated
def test_a_slow_origin(cluster: Cluster, faulty: FaultyRegistry, _time: int) -> None:
    faulty.inject(faults.slow(SLOW), on="blobs")
    reference = published(faulty)
    with pulling(cluster, CHILD, reference):
        found = explained(cluster, CHILD, reference)
    assert found["bottleneck"] == "origin", found
    assert faulty.host in found["summary"]


@repeated
def test_a_slow_parent(cluster: Cluster, faulty: FaultyRegistry, _time: int) -> None:
    reference = published(faulty)
    finish(cluster.pull(SEED, reference))
    with pulling(cluster, CHILD, reference):
        found = explained(cluster, CHILD, reference)
    assert found["bottleneck"] == "parent", found
    assert cluster.status(SEED)["node"][:12] in found["summary"]


@repeated
def test_a_slow_disk(cluster: Cluster, faulty: FaultyRegistry, disks: tuple[Disk, Disk], _time: int) -> None:
    reference = published(faulty, LARGE)
    slow = disks[0]
    with strokes(slow.freeze, slow.thaw, FROZEN, THAWED), pulling(cluster, SLOW_DISK, reference):
        found = explained(cluster, SLOW_DISK, reference, looked=1.5)
    assert found["bottleneck"] == "disk", found
    assert "doctor" in found["remedy"]


@repeated
def test_a_low_download_limit(cluster: Cluster, faulty: FaultyRegistry, _time: int) -> None:
    reference = published(faulty)
    with pulling(cluster, LIMITED, reference):
        found = explained(cluster, LIMITED, reference)
    assert found["bottleneck"] == "download_limit", found
    assert "3.00 MB/s" in found["summary"]
    assert "--download-rate" in found["remedy"]


@repeated
def test_rdma_that_is_missing(cluster: Cluster, faulty: FaultyRegistry, _time: int) -> None:
    reference = published(faulty)
    finish(cluster.pull(SEED, reference))
    with pulling(cluster, WITHOUT_RDMA, reference):
        found = explained(cluster, WITHOUT_RDMA, reference)
    assert found["bottleneck"] == "rdma", found
    assert "mlx5_0" in " ".join(found["evidence"])


@repeated
def test_a_token_that_expires(cluster: Cluster, private: FaultyRegistry, _time: int) -> None:
    private.heal()
    private.accepts = (TOKEN,)
    private.inject(faults.slow(SLOW), on="blobs")
    reference = published(private)
    with pulling(cluster, CHILD, reference) as running:
        wait_until("some of it to come", lambda: why(cluster, CHILD, reference)["pull"]["origin"] > SLOW)
        private.accepts = ()
        private.heal()
        private.inject(faults.truncated(100_000), on="blobs")
        running.communicate(timeout=60)
        assert running.returncode == 5
        found = why(cluster, CHILD, reference)
    assert found["bottleneck"] == "credentials", found
    assert "modeldist login" in found["remedy"]
    assert "no more" in " ".join(found["evidence"])


def test_a_download_limit_on_what_parents_send(cluster: Cluster, faulty: FaultyRegistry) -> None:
    reference = published(faulty)
    finish(cluster.pull(CHILD, reference))
    with pulling(cluster, LIMITED, reference):
        found = explained(cluster, LIMITED, reference)
    assert found["bottleneck"] == "download_limit", found


def test_an_upload_limit_is_known_to_the_control_plane(cluster: Cluster, faulty: FaultyRegistry) -> None:
    reference = published(faulty)
    finish(cluster.pull(CAPPED, reference))
    started = cluster.run(CHILD, "preheat", reference, "--nodes", "node-1", "--json")
    assert started.returncode == 0, started.stderr
    found: dict[str, Any] = {}

    def named() -> bool:
        told = cluster.run(CHILD, "why", "--json", "--server", cluster.url, reference)
        found.update(json.loads(told.stdout)["nodes"][0])
        return bool(found["bottleneck"])

    wait_until("what holds it up", named)
    assert found["bottleneck"] in ("parent", "upload_limit"), found
    wait_until("the parent's limit", lambda: named() and found["bottleneck"] == "upload_limit")
    assert "node-6" in found["summary"] and "3.00 MB/s" in found["summary"]
    assert explained(cluster, CHILD, reference)["bottleneck"] == "parent"


def test_an_origin_that_asks_for_fewer_requests(cluster: Cluster, faulty: FaultyRegistry) -> None:
    faulty.inject(faults.slow(SLOW), on="blobs")
    reference = published(faulty)
    with pulling(cluster, CHILD, reference):
        wait_until("bytes", lambda: why(cluster, CHILD, reference)["pull"]["origin"] > 0)
        faulty.heal()
        faulty.inject(faults.rate_limited("60"), on="blobs")
        wait_until("that to be said", lambda: why(cluster, CHILD, reference)["bottleneck"] == "origin_limit")
        assert "rate_limited" in " ".join(why(cluster, CHILD, reference)["evidence"])


def test_a_disk_that_is_full(cluster: Cluster, faulty: FaultyRegistry) -> None:
    reference = published(faulty)
    assert cluster.run(SMALL_DISK, "pull", reference).returncode == 13
    found = why(cluster, SMALL_DISK, reference)
    assert found["bottleneck"] == "disk_full", found
    assert "modeldist gc" in found["remedy"]


def test_nothing_is_wrong_and_it_is_done(cluster: Cluster, faulty: FaultyRegistry) -> None:
    reference = published(faulty)
    finish(cluster.pull(CHILD, reference))
    found = why(cluster, CHILD, reference)
    assert "came from" in found["summary"]
    assert found["bottleneck"] in (None, "disk", "verification"), found  # a busy machine may have no time for digests
    assert cluster.run(CHILD, "pull", reference).returncode == 0
    assert "nothing was fetched" in why(cluster, CHILD, reference)["summary"]


def test_the_control_plane_is_away(cluster: Cluster, faulty: FaultyRegistry) -> None:
    """The last: it is started again, and nodes come back when they do."""
    faulty.inject(faults.slow(SLOW), on="blobs")
    reference = published(faulty, 600_000_000)
    with pulling(cluster, CHILD, reference):
        wait_until("bytes", lambda: why(cluster, CHILD, reference)["pull"]["origin"] > 0)
        cluster.server.kill()
        faulty.heal()
        try:
            wait_until("that to be said", lambda: why(cluster, CHILD, reference)["bottleneck"] == "control_plane")
        finally:
            cluster.start_server()
