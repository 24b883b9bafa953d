"""Bytes of a shard that somebody reads, and a pull that takes their shard over, as a chunk table proves its part."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import pytest
from msgspec.structs import replace

from modeldist.artifact import Artifact, ShardChunks
from modeldist.errors import Unsupported
from modeldist.gateway.flights import Flights
from modeldist.gateway.shard_body import Span, shard_spans
from modelpack.chunk_table import chunk_digests
from tests.servers.engine_cluster import MIB, EngineCluster, EngineNode, until

SIZE = 12 * MIB + 77
NAME = "model.safetensors"
PART = "memory://org/model:part"
WANTED = (MIB, 5 * MIB + 1)  # what is read: some of it is in the part, some is not
IN_PART = (0, 3 * MIB)


class Same:
    """One file in two models: one has nothing that proves parts of it, and of the other a part is pulled, by a table of
    chunks of `chunk` bytes (0: there is none)."""

    def __init__(self, cluster: EngineCluster, chunk: int) -> None:
        self.content = os.urandom(SIZE)
        self.plain: Artifact = cluster.origin.add("memory://org/plain:v1", {NAME: self.content})
        self.shard = self.plain.shards[0]
        tabled = cluster.origin.add("memory://org/model:v1", {NAME: self.content})
        if chunk:
            table = ShardChunks(self.shard.digest, chunk, chunk_digests(self.content, chunk))
            tabled = replace(tabled, chunks=(table,))
        cluster.origin.add_part(PART, tabled, {NAME: (IN_PART,)})

    def assert_pulled(self, snapshot: Path) -> None:
        start, stop = IN_PART
        assert (snapshot / NAME).read_bytes()[start:stop] == self.content[start:stop]


@pytest.fixture
def cluster(tmp_path: Path) -> EngineCluster:
    return EngineCluster(tmp_path)


async def read(spans: AsyncGenerator[Span, None]) -> bytes:
    async with aclosing(spans):
        return b"".join([os.pread(span.fd, span.stop - span.start, span.start) async for span in spans])


@pytest.fixture(params=[MIB // 4, MIB], ids=["as it is cut", "cut otherwise"])
def same(cluster: EngineCluster, request: pytest.FixtureRequest) -> Same:
    return Same(cluster, request.param)


async def begun(node: EngineNode, same: Same) -> None:
    await until(lambda: bool((fetch := node.engine.node.fetches.get(same.shard.digest)) and fetch.joined))


async def test_a_pull_begins_while_they_come(cluster: EngineCluster, same: Same) -> None:
    async with cluster.node("a") as node:
        flights = Flights(node.engine, node.pulls)
        cluster.origin.backs_off = True
        with flights.joined(same.plain, same.plain.reference, same.shard, WANTED) as flight:
            reading = asyncio.create_task(read(shard_spans(node.engine, flights, flight, *WANTED)))
            await begun(node, same)
            pull = node.pulls.start(PART)
            await until(lambda: pull.id in node.engine.node.fetches[same.shard.digest].wanted_by)
            cluster.origin.backs_off = False
            same.assert_pulled(await node.pulls.wait(pull))
            assert await asyncio.wait_for(reading, 60) == same.content[slice(*WANTED)]
        await flights.close()


async def test_a_pull_comes_and_goes_while_they_are_read(cluster: EngineCluster, same: Same) -> None:
    async with cluster.node("a") as node:
        flights = Flights(node.engine, node.pulls)
        with flights.joined(same.plain, same.plain.reference, same.shard, WANTED) as flight:
            spans = shard_spans(node.engine, flights, flight, *WANTED)
            first = await anext(spans)
            got = os.pread(first.fd, first.stop - first.start, first.start)
            same.assert_pulled(await node.pull(PART))
            got += await asyncio.wait_for(read(spans), 60)
            assert got == same.content[slice(*WANTED)]
        await flights.close()
        assert not node.store.audit().damages


async def test_a_pull_that_nothing_proves_leaves_them_alone(cluster: EngineCluster) -> None:
    same = Same(cluster, 0)
    async with cluster.node("a") as node:
        flights = Flights(node.engine, node.pulls)
        cluster.origin.backs_off = True
        with flights.joined(same.plain, same.plain.reference, same.shard, WANTED) as flight:
            reading = asyncio.create_task(read(shard_spans(node.engine, flights, flight, *WANTED)))
            await begun(node, same)
            with pytest.raises(Unsupported, match="no chunk table"):
                await node.pull(PART)
            cluster.origin.backs_off = False
            assert await asyncio.wait_for(reading, 60) == same.content[slice(*WANTED)]
        await flights.close()
