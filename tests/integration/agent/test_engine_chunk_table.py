"""A model with a chunk table: what is wrong is refused piece by piece, whoever sends it and whatever was said of it."""

from __future__ import annotations

import asyncio
import os

import pytest
from blake3 import blake3
from msgspec.structs import replace

from modeldist.agent.store import Store
from modeldist.artifact import Digest, ShardChunks
from modeldist.errors import IntegrityError
from modeldist.scheduler.messages import JoinTasks, PieceDigest, TaskJoin
from modeldist.scheduler.pieces import PieceSet
from modeldist.session.messages import PROTOCOL, Hello
from modeldist.transfer.tcp import TcpPieceServer
from tests.integration.agent.test_engine_hostile_members import LIAR, Forged
from tests.servers.engine_cluster import MIB, REFERENCE, EngineCluster, assert_right, model
from tests.servers.memory_origin import sha256

PIECE = MIB // 4


async def test_a_wrong_byte_of_the_origin_is_refused_with_its_piece(cluster: EngineCluster) -> None:
    files = model(40 * MIB)
    ((name, content),) = files.items()
    artifact = cluster.origin.add(REFERENCE, files, chunks=True)
    shard = artifact.shards[0]
    wrong = bytearray(content)
    wrong[3 * PIECE + 7] ^= 1
    cluster.origin.blobs[shard.digest] = bytes(wrong)
    async with cluster.node("a") as node:
        with pytest.raises(IntegrityError, match=f"{name} of .*bytes {3 * PIECE} to {4 * PIECE} that the origin sent"):
            await node.pull()
        assert node.store.path(shard.digest) is None
        assert cluster.origin.bytes_read[shard.digest] < shard.size  # it was not read to its end first
        cluster.origin.blobs[shard.digest] = content
        assert_right(await node.pull(), files)


async def test_what_a_member_says_and_serves_does_not_count_against_the_table(cluster: EngineCluster) -> None:
    """It claims to have everything, with digests of its own: no restart, no false byte, read from the origin once."""
    files = model(4 * MIB)
    artifact = cluster.origin.add(REFERENCE, files, chunks=True)
    shard = artifact.shards[0]
    forged = Forged(cluster.home / "forged", shard.size)
    server = TcpPieceServer(forged, host="127.0.0.1", check=lambda *_: True, node=LIAR)
    told, have = tuple(forged.digest(piece) for piece in forged.layout.all), forged.layout.all.to_bytes()
    join = TaskJoin(shard.digest, shard.size, artifact.endpoint, have, told, piece_size=PIECE, seed_only=True)
    try:
        async with (
            cluster.control.open(Hello(PROTOCOL, LIAR, "liar", "0", server.address)) as session,
            cluster.node("good") as good,
            cluster.node("a") as node,
        ):
            await good.pull()
            await session.send(JoinTasks((join,)))
            path, final = await node.pull_and_tell()
        assert_right(path, files)
        assert not any("Started again" in note for note in final.notes)
        assert cluster.origin.bytes_read[shard.digest] == shard.size
    finally:
        await asyncio.to_thread(server.close)


async def test_a_swarm_with_a_table_reads_the_origin_once(cluster: EngineCluster) -> None:
    files = model(6 * MIB, 3 * MIB)
    artifact = cluster.origin.add(REFERENCE, files, chunks=True)
    async with cluster.node("a") as a, cluster.node("b") as b, cluster.node("c") as c:
        for path in await asyncio.gather(a.pull(), b.pull(), c.pull()):
            assert_right(path, files)
    cluster.assert_read_once(artifact)


async def test_pieces_of_an_earlier_pull_that_contradict_the_table_are_read_again(cluster: EngineCluster) -> None:
    files = model(20 * MIB)
    artifact = cluster.origin.add(REFERENCE, files, chunks=True)
    shard = artifact.shards[0]
    async with cluster.node("a") as node:
        partial = node.store.begin(shard, 2 * PIECE)  # as one was left that trusted whoever read it
        lie = bytes(2 * PIECE)
        os.pwrite(partial.fd, lie, 0)
        partial.add(0, blake3(lie).digest())
        partial.close()
        assert_right(await node.pull(), files)
    assert cluster.origin.bytes_read[shard.digest] == shard.size


async def test_the_table_is_kept_with_the_artifact(cluster: EngineCluster) -> None:
    files = model(2 * MIB)
    artifact = cluster.origin.add(REFERENCE, files, chunks=True)
    async with cluster.node("a") as node:
        await node.pull()
    store = Store.open(cluster.home / "a")
    try:
        known = store.lookup(REFERENCE)
        assert known is not None
        chunks = known.chunks_of(artifact.shards[0].digest)
        assert chunks is not None
        assert chunks.of(7) == blake3(next(iter(files.values()))[7 * PIECE :]).digest()
        assert known.chunks_of(sha256(b"else")) is None
    finally:
        store.close()
    assert PieceDigest(0, chunks.of(0)).blake3 == artifact.chunks[0].of(0)
    assert PieceSet.full(chunks.count).to_bytes() == b"\xff"


async def test_a_hostile_artifact_that_names_the_shard_of_another_does_not_keep_nodes_apart(
    cluster: EngineCluster,
) -> None:
    """Its table is false, and the model whose shard that is has none. Before, every node read all from the origin."""
    files = model(12 * MIB)
    cluster.origin.add(REFERENCE, files)
    evil = cluster.origin.add("memory://org/evil:v1", files, chunks=True)
    (table,) = evil.chunks
    false = ShardChunks(table.digest, table.chunk_size, bytes(len(table.digests)))
    lying = replace(evil, digest=Digest("sha256:" + "e" * 64), revision="e" * 40, chunks=(false,))
    cluster.origin.name("memory://org/evil:v1", lying)
    async with cluster.node("a") as a, cluster.node("b") as b, cluster.node("c") as c:
        with pytest.raises(IntegrityError, match="not those of the model's chunk table"):
            await a.pull("memory://org/evil:v1")
        told = await asyncio.gather(*(node.pull_and_tell() for node in (a, b, c)))
        for path, _ in told:
            assert_right(path, files)
    assert sum(final.peers for _, final in told) > 0
