"""Nodes that want ranges of shards: one swarm, each wanted byte read from the origin once and no other, every piece
proven by the chunk table."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path

import pytest
from blake3 import blake3
from msgspec.structs import replace

from modeldist.agent.config import EngineConfig
from modeldist.artifact import Artifact, Digest, ShardChunks
from modeldist.control.inprocess import InProcessControl
from modeldist.errors import IntegrityError, OriginUnavailable, Unsupported
from modeldist.scheduler.alone import Alone
from modeldist.scheduler.messages import JoinTasks, TaskJoin
from modeldist.session.messages import PROTOCOL, Hello
from modeldist.transfer.tcp import TcpPieceServer
from modelpack.chunk_table import chunk_digests
from tests.integration.agent.test_engine_hostile_members import LIAR, Forged
from tests.servers.engine_cluster import MIB, REFERENCE, EngineCluster, EngineNode, model, until

PIECE = MIB // 4
SIZE = 12 * MIB + 77  # 49 pieces; a quarter's bounds are no piece's
NAME = "part-0.safetensors"


def quarter(index: int) -> tuple[int, int]:
    return SIZE * index // 4, SIZE * (index + 1) // 4


def part_reference(index: int) -> str:
    return f"memory://org/model:quarter{index}"


class Quarters:
    """A model of one file with a chunk table, and references to its quarters."""

    def __init__(self, cluster: EngineCluster, *, chunks: bool = True) -> None:
        self.origin = cluster.origin
        self.files = model(SIZE)
        (self.content,) = self.files.values()
        self.whole = cluster.origin.add(REFERENCE, self.files, chunks=chunks)
        self.shard = self.whole.shards[0]
        self.parts: list[Artifact] = [
            cluster.origin.add_part(part_reference(index), self.whole, {NAME: (quarter(index),)}) for index in range(4)
        ]

    def assert_has(self, snapshot: Path, *indices: int) -> None:
        """Those quarters are in the file, at their places."""
        found = (snapshot / NAME).read_bytes()
        assert len(found) == SIZE
        for start, stop in map(quarter, indices):
            assert found[start:stop] == self.content[start:stop]

    def pieces_read(self) -> Counter[int]:
        """How often each was read from the origin."""
        found: Counter[int] = Counter()
        for digest, start, stop in self.origin.ranges_read:
            assert digest == self.shard.digest
            found.update(range(start // PIECE, -(-stop // PIECE)))
        return found


def pieces_of(*indices: int) -> set[int]:
    return {byte // PIECE for start, stop in map(quarter, indices) for byte in (*range(start, stop, PIECE), stop - 1)}


@pytest.fixture
def quarters(cluster: EngineCluster) -> Quarters:
    return Quarters(cluster)


async def test_two_quarters_and_a_whole_are_one_swarm(cluster: EngineCluster, quarters: Quarters) -> None:
    async with cluster.node("a") as a, cluster.node("b") as b, cluster.node("c") as c:
        parts = [a.pull(part_reference(0)), b.pull(part_reference(1))]
        one, other, whole = await asyncio.gather(*parts, c.pull())
    quarters.assert_has(one, 0)
    quarters.assert_has(other, 1)
    quarters.assert_has(whole, 0, 1, 2, 3)
    cluster.assert_read_once(quarters.whole)


async def test_ranks_read_each_wanted_byte_once_and_no_other(cluster: EngineCluster, quarters: Quarters) -> None:
    """Two replicas of two ranks."""
    async with cluster.node("a") as a, cluster.node("b") as b, cluster.node("c") as c, cluster.node("d") as d:
        pulls = [node.pull(part_reference(index % 2)) for index, node in enumerate((a, b, c, d))]
        for index, snapshot in enumerate(await asyncio.gather(*pulls)):
            quarters.assert_has(snapshot, index % 2)
    assert quarters.pieces_read() == Counter(pieces_of(0, 1))


async def test_a_part_is_served_after_its_pull_and_after_a_restart(cluster: EngineCluster, quarters: Quarters) -> None:
    async with cluster.node("a") as node:
        await node.pull(part_reference(2))
    before = quarters.pieces_read()
    assert set(before) == pieces_of(2)
    async with cluster.node("a"), cluster.node("b") as b:
        snapshot, told = await b.pull_and_tell()
        quarters.assert_has(snapshot, 0, 1, 2, 3)
    assert quarters.pieces_read() == Counter(range(49))
    assert told.peers == PIECE * len(pieces_of(2))


async def test_a_later_pull_of_all_reads_the_rest_and_fills_the_file(
    cluster: EngineCluster, quarters: Quarters
) -> None:
    async with cluster.node("a") as node:
        part = await node.pull(part_reference(1))
        assert node.store.path(quarters.shard.digest) is None
        assert node.store.snapshot(quarters.whole) is None
        whole = await node.pull()
        assert (whole / NAME).read_bytes() == quarters.content
        assert (part / NAME).samefile(whole / NAME)
        assert not node.store.audit().damages
    assert quarters.pieces_read() == Counter(range(49))


async def test_a_pull_says_how_much_it_wants(cluster: EngineCluster, quarters: Quarters) -> None:
    async with cluster.node("a") as node:
        _, told = await node.pull_and_tell(part_reference(3))
        size = PIECE * (len(pieces_of(3)) - 1) + 77
        assert (told.size, told.origin, told.done) == (size, size, size)
        (row,) = told.shards
        assert (row.size, row.done, row.complete) == (size, size, True)


async def test_a_running_pull_of_a_part_brings_what_another_wants_too(
    cluster: EngineCluster, quarters: Quarters
) -> None:
    async with cluster.node("a") as node:
        cluster.origin.backs_off = True
        first = node.pulls.start(part_reference(0))
        await until(lambda: any(fetch.reads for fetch in node.engine.node.fetches.values()))
        others = [node.pulls.start(part_reference(1)), node.pulls.start(part_reference(0))]
        await until(lambda: all(pull.state == "pulling" for pull in others))
        cluster.origin.backs_off = False
        quarters.assert_has(await node.pulls.wait(first), 0)
        quarters.assert_has(await node.pulls.wait(others[0]), 1)
        quarters.assert_has(await node.pulls.wait(others[1]), 0)
    assert set(quarters.pieces_read()) == pieces_of(0, 1)


async def test_a_pull_of_all_beside_one_of_a_part(cluster: EngineCluster, quarters: Quarters) -> None:
    async with cluster.node("a") as node:
        part, whole = await asyncio.gather(node.pull(part_reference(0)), node.pull())
    quarters.assert_has(part, 0)
    assert (whole / NAME).read_bytes() == quarters.content


async def test_alone_a_node_reads_its_part_and_nothing_else(cluster: EngineCluster, quarters: Quarters) -> None:
    cluster.control = InProcessControl(cluster.origin, time.monotonic, scheduler=Alone())
    async with cluster.node("a") as node:
        quarters.assert_has(await node.pull(part_reference(2)), 2)
        assert quarters.pieces_read() == Counter(pieces_of(2))
        await node.pull()
    assert quarters.pieces_read() == Counter(range(49))


async def test_what_came_is_kept_when_the_pull_is_stopped(cluster: EngineCluster, quarters: Quarters) -> None:
    def end_soon(shard: Digest, position: int) -> None:
        if position >= 2 * MIB:
            raise OriginUnavailable("gone")

    cluster.origin.before_chunk = end_soon
    cluster.control = InProcessControl(cluster.origin, time.monotonic, scheduler=Alone())
    async with cluster.node("a", config=EngineConfig(origin_failures=1)) as node:
        with pytest.raises(OriginUnavailable):
            await node.pull(part_reference(0))
        cluster.origin.before_chunk = lambda shard, position: None
        before = quarters.pieces_read()
        _, told = await node.pull_and_tell(part_reference(0))
        assert told.local == PIECE * before.total() > 0
    assert quarters.pieces_read() == Counter(pieces_of(0))


async def test_without_a_chunk_table_a_part_is_refused(cluster: EngineCluster) -> None:
    quarters = Quarters(cluster, chunks=False)
    async with cluster.node("a") as node:
        with pytest.raises(Unsupported, match=f"{NAME} of .* has no chunk table"):
            await node.pull(part_reference(0))
        assert not quarters.origin.ranges_read
        assert not any((node.store.root / "partial").iterdir())


async def test_pieces_of_an_earlier_pull_that_contradict_the_table_are_fetched_again(
    cluster: EngineCluster, quarters: Quarters
) -> None:
    async with cluster.node("a") as node:
        with node.store.begin(quarters.shard, PIECE) as partial:
            partial.add(0, blake3(bytes(PIECE)).digest())  # a hole, which somebody called its content
        quarters.assert_has(await node.pull(part_reference(0)), 0)
    assert set(quarters.pieces_read()) == pieces_of(0)


async def test_a_parent_that_sends_what_is_wrong_is_refused(cluster: EngineCluster, quarters: Quarters) -> None:
    forged = Forged(cluster.home / "forged", SIZE)
    server = TcpPieceServer(forged, host="127.0.0.1", check=lambda *_: True, node=LIAR)
    have = forged.layout.all.to_bytes()
    join = TaskJoin(
        quarters.shard.digest, SIZE, quarters.whole.endpoint, have, piece_size=PIECE, seed_only=True, chunks=True
    )
    try:
        async with (
            cluster.control.open(Hello(PROTOCOL, LIAR, "liar", "0", server.address)) as session,
            cluster.node("good") as good,
            cluster.node("a") as node,
        ):
            await good.pull()
            await session.send(JoinTasks((join,)))
            snapshot, _ = await node.pull_and_tell(part_reference(1))
        quarters.assert_has(snapshot, 1)
        cluster.assert_read_once(quarters.whole)
    finally:
        await asyncio.to_thread(server.close)


async def test_a_swarm_that_is_cut_otherwise_refuses_parts(cluster: EngineCluster, quarters: Quarters) -> None:
    """As where a node without the table opened it before the control plane had it."""
    shard = quarters.shard
    join = TaskJoin(shard.digest, SIZE, quarters.whole.endpoint, piece_size=2 * PIECE)
    async with cluster.control.open(Hello(PROTOCOL, LIAR, "other", "0", "")) as session, cluster.node("a") as node:
        await session.send(JoinTasks((join,)))
        with pytest.raises(Unsupported, match="in other pieces"):
            await node.pull(part_reference(1))


async def test_a_swarm_that_is_cut_otherwise_does_not_write_over_what_a_snapshot_shows(
    cluster: EngineCluster, quarters: Quarters
) -> None:
    """A later pull of all, in pieces of which the part's are none."""
    shard = quarters.shard
    join = TaskJoin(shard.digest, SIZE, quarters.whole.endpoint, piece_size=32 * PIECE)
    async with cluster.node("a") as node:
        part = await node.pull(part_reference(1))
    cluster.control = InProcessControl(cluster.origin, time.monotonic)
    async with cluster.control.open(Hello(PROTOCOL, LIAR, "other", "0", "")) as session:
        await session.send(JoinTasks((join,)))
        async with cluster.node("a") as node:
            with pytest.raises(IntegrityError, match=f"{NAME} of .*in smaller chunks"):
                await node.pull()
            assert await node.pull(part_reference(1)) == part
            quarters.assert_has(part, 1)


class TwoTables(Quarters):
    """The model, and another with the same file whose chunk table is false from the second piece of a quarter on: what
    it says there is what the origin sends, for now."""

    def __init__(self, cluster: EngineCluster, *, honest_chunks: bool) -> None:
        super().__init__(cluster, chunks=honest_chunks)
        self.false = bytearray(self.content)
        self.false[PIECE : 2 * PIECE] = bytes(PIECE)
        other = cluster.origin.add("memory://org/other:v1", self.files, chunks=True)
        table = ShardChunks(self.shard.digest, PIECE, chunk_digests(bytes(self.false), PIECE))
        lying = replace(other, digest=Digest("sha256:" + "f" * 64), revision="f" * 40, chunks=(table,))
        cluster.origin.add_part("memory://org/other:quarter0", lying, {NAME: (quarter(0),)})

    async def pull_false_part(self, node: EngineNode) -> Path:
        self.origin.blobs[self.shard.digest] = bytes(self.false)
        snapshot = await node.pull("memory://org/other:quarter0")
        self.origin.blobs[self.shard.digest] = self.content
        return snapshot


@pytest.mark.parametrize("alone", [True, False])
async def test_a_false_part_does_not_keep_the_whole_from_being_right(cluster: EngineCluster, alone: bool) -> None:
    tables = TwoTables(cluster, honest_chunks=False)
    if alone:
        cluster.control = InProcessControl(cluster.origin, time.monotonic, scheduler=Alone())
    async with cluster.node("a") as node:
        await tables.pull_false_part(node)
        assert (await node.pull() / NAME).read_bytes() == tables.content
        assert not node.store.audit().damages


async def test_a_false_part_is_not_taken_for_a_right_one_nor_the_other_way_round(cluster: EngineCluster) -> None:
    tables = TwoTables(cluster, honest_chunks=True)
    cluster.control = InProcessControl(cluster.origin, time.monotonic, scheduler=Alone())
    async with cluster.node("a") as node:
        await tables.pull_false_part(node)
        with pytest.raises(IntegrityError, match=f"{NAME} of .*another chunk table"):
            await node.pull(part_reference(0))
    async with cluster.node("b") as node:
        right = await node.pull(part_reference(0))
        with pytest.raises(IntegrityError, match="another chunk table"):
            await node.pull("memory://org/other:quarter0")
        tables.assert_has(right, 0)


async def test_a_false_table_with_larger_chunks_does_not_write_over_what_a_snapshot_shows(
    cluster: EngineCluster, quarters: Quarters
) -> None:
    """The last piece of a quarter is a part only of the other table's chunk, which is wanted whole."""
    other = cluster.origin.add("memory://org/other:v1", quarters.files, chunks=True)
    false = bytearray(quarters.content)
    false[12 * PIECE : 16 * PIECE] = bytes(4 * PIECE)
    table = ShardChunks(quarters.shard.digest, 4 * PIECE, chunk_digests(bytes(false), 4 * PIECE))
    lying = replace(other, digest=Digest("sha256:" + "f" * 64), revision="f" * 40, chunks=(table,))
    cluster.origin.add_part("memory://org/other:quarter0", lying, {NAME: (quarter(0),)})
    cluster.control = InProcessControl(cluster.origin, time.monotonic, scheduler=Alone())
    async with cluster.node("a") as node:
        right = await node.pull(part_reference(0))
        cluster.origin.blobs[quarters.shard.digest] = bytes(false)
        with pytest.raises(IntegrityError, match=f"{NAME} of .*in smaller chunks"):
            await node.pull("memory://org/other:quarter0")
        quarters.assert_has(right, 0)
