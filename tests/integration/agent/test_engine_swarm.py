"""Engines in one process, with a real store, real TCP piece servers and the in-process control plane.

The origin's bytes live in memory and count every read.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from modeldist.agent.engine import Engine
from modeldist.agent.pull import Pulls
from modeldist.agent.store import Store
from modeldist.artifact import Artifact
from modeldist.control.inprocess import InProcessControl
from modeldist.errors import NotFound
from modeldist.transfer.base import ServerLimits
from modeldist.transfer.tcp import TcpPieceServer, TcpTransport
from tests.servers.memory_origin import MemoryOrigin

REFERENCE = "memory://org/model:v1"
MIB = 1 << 20


@dataclass
class Node:
    engine: Engine
    pulls: Pulls
    store: Store

    async def pull(self, reference: str = REFERENCE) -> Path:
        return await self.pulls.wait(self.pulls.start(reference))


class Cluster:
    """Nodes that share one origin and one control plane."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.origin = MemoryOrigin()
        self.control = InProcessControl(self.origin, time.monotonic)

    @asynccontextmanager
    async def node(self, name: str) -> AsyncIterator[Node]:
        store = Store.open(self.home / name)
        server = TcpPieceServer(
            store.directory(), host="127.0.0.1", check=lambda *_: True, limits=ServerLimits(), node=store.node_id
        )
        engine = Engine(
            store,
            self.control,
            self.origin,
            TcpTransport(),
            server=server,
            address=server.address,
            rng=random.Random(name),
        )
        pulls = Pulls(engine, lambda reference: reference)
        await engine.start()
        try:
            yield Node(engine, pulls, store)
        finally:
            await pulls.close()
            await engine.close()
            await asyncio.to_thread(server.close)
            store.close()


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


def model(*sizes: int) -> dict[str, bytes]:
    return {f"part-{index}.safetensors": os.urandom(size) for index, size in enumerate(sizes)}


def assert_right(snapshot: Path, files: dict[str, bytes]) -> None:
    assert {path.name: path.read_bytes() for path in snapshot.iterdir()} == files


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.01)


def read_once(cluster: Cluster, artifact: Artifact) -> None:
    assert {shard.digest: cluster.origin.bytes_read[shard.digest] for shard in artifact.shards} == {
        shard.digest: shard.size for shard in artifact.shards
    }


async def test_one_node_pulls_and_a_second_pull_moves_nothing(cluster: Cluster) -> None:
    files = model(5 * MIB + 7, 100, 0)
    artifact = cluster.origin.add(REFERENCE, files)
    async with cluster.node("a") as node:
        first = await node.pull()
        assert_right(first, files)
        read_once(cluster, artifact)
        pull = node.pulls.start(REFERENCE)
        assert await node.pulls.wait(pull) == first
        read_once(cluster, artifact)
        assert (pull.snapshot().local, pull.snapshot().origin) == (artifact.size, 0)


async def test_four_nodes_at_once_read_the_origin_once(cluster: Cluster) -> None:
    files = model(24 * MIB + 123, 3 * MIB, 4096, 17)
    artifact = cluster.origin.add(REFERENCE, files)
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(cluster.node(name)) for name in "abcd"]
        pulls = [node.pulls.start(REFERENCE) for node in nodes]
        paths = await asyncio.gather(*(node.pulls.wait(pull) for node, pull in zip(nodes, pulls, strict=True)))
        for path in paths:
            assert_right(path, files)
        read_once(cluster, artifact)
        finals = [pull.snapshot() for pull in pulls]
        assert sum(final.origin for final in finals) == artifact.size
        assert all(final.origin + final.peers == artifact.size for final in finals)


async def test_a_late_node_gets_everything_from_peers(cluster: Cluster) -> None:
    files = model(9 * MIB, 1000)
    artifact = cluster.origin.add(REFERENCE, files)
    async with cluster.node("early") as early, cluster.node("late") as late:
        await early.pull()
        pull = late.pulls.start(REFERENCE)
        assert_right(await late.pulls.wait(pull), files)
        read_once(cluster, artifact)
        assert pull.snapshot().peers == artifact.size
        assert [share.node for share in pull.snapshot().parents] == [early.store.node_id]


async def test_a_restarted_node_still_offers_what_it_holds(cluster: Cluster) -> None:
    files = model(6 * MIB)
    artifact = cluster.origin.add(REFERENCE, files)
    async with cluster.node("a") as node:
        await node.pull()
    cluster.control = InProcessControl(cluster.origin, time.monotonic)  # the control plane restarts empty as well
    async with cluster.node("a"), cluster.node("b") as other:
        assert_right(await other.pull(), files)
        read_once(cluster, artifact)


async def test_two_pulls_of_one_node_share_the_work(cluster: Cluster) -> None:
    files = model(8 * MIB, 3 * MIB)
    artifact = cluster.origin.add(REFERENCE, files)
    async with cluster.node("a") as node:
        first, second = await asyncio.gather(node.pull(), node.pull())
        assert first == second
        read_once(cluster, artifact)


async def test_a_cancelled_pull_keeps_its_pieces(cluster: Cluster) -> None:
    files = model(16 * MIB)
    artifact = cluster.origin.add(REFERENCE, files)
    async with cluster.node("a") as node:
        pull = node.pulls.start(REFERENCE)
        await until(lambda: pull.snapshot().origin > 0)
        node.pulls.cancel(pull.id)
        with pytest.raises(Exception, match="stopped"):
            await node.pulls.wait(pull)
    async with cluster.node("a") as node:
        again = node.pulls.start(REFERENCE)
        assert_right(await node.pulls.wait(again), files)
        final = again.snapshot()
        assert final.local + final.origin == artifact.size


async def test_an_unknown_model_is_an_error_that_names_it(cluster: Cluster) -> None:
    async with cluster.node("a") as node:
        with pytest.raises(NotFound, match="org/absent"):
            await node.pull("memory://org/absent:v1")
