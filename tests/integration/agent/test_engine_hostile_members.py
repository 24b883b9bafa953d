"""Members of a swarm that lie to the control plane. They may cost time; no honest pull hangs or keeps a wrong byte."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from blake3 import blake3

from modeldist.artifact import Artifact, Digest
from modeldist.errors import IntegrityError, PullFailed
from modeldist.scheduler.messages import (
    JoinTasks,
    LeaseGranted,
    LeaseRequest,
    PieceDigest,
    Report,
    ShardRejected,
    TaskJoin,
    TaskReport,
    TaskReset,
)
from modeldist.scheduler.pieces import PieceLayout, PieceSet, piece_size_for
from modeldist.session.link import Session
from modeldist.session.messages import PROTOCOL, Hello
from modeldist.transfer.base import OnVerified
from modeldist.transfer.tcp import TcpPieceServer
from tests.servers.engine_cluster import MIB, REFERENCE, EngineCluster, assert_right, model

LIAR = "e" * 32


class Forged:
    """A shard directory and an open shard at once: random bytes where the shard should be."""

    def __init__(self, path: Path, size: int) -> None:
        self.content = os.urandom(size)
        path.write_bytes(self.content)
        self.fd = os.open(path, os.O_RDONLY)
        self.layout = PieceLayout(size, piece_size_for(size))

    def open(self, shard: Digest) -> Forged:
        return self

    def have(self) -> PieceSet:
        return self.layout.all

    def watch(self, shard: Digest, on_have: OnVerified) -> Callable[[], None]:
        return lambda: None

    def close(self) -> None:
        """Stays open until the test ends."""

    def digest(self, piece: int) -> PieceDigest:
        start = self.layout.offset(piece)
        return PieceDigest(piece, blake3(self.content[start : start + self.layout.length(piece)]).digest())


async def read_and_lie(session: Session, task: Digest, forged: Forged) -> None:
    """Take every lease there is and announce the digests of other bytes, which the piece server then serves."""
    have, seq = PieceSet(), 0
    async for message in session.receive():
        if isinstance(message, TaskReset):
            have = PieceSet()
        elif isinstance(message, LeaseGranted):
            span = PieceSet.span(message.start, message.count)
            have, seq = have | span, seq + 1
            told = TaskReport(task, have.to_bytes(), tuple(forged.digest(piece) for piece in span))
            await session.send(Report(seq, tasks=(told,)))
        else:
            continue
        await session.send(LeaseRequest(task, 4))


@asynccontextmanager
async def liar(cluster: EngineCluster, artifact: Artifact) -> AsyncIterator[Session]:
    shard = artifact.shards[0]
    forged = Forged(cluster.home / "forged", shard.size)
    server = TcpPieceServer(forged, host="127.0.0.1", check=lambda *_: True, node=LIAR)
    try:
        async with cluster.control.open(Hello(PROTOCOL, LIAR, "liar", "0", server.address)) as session:
            lying = asyncio.create_task(read_and_lie(session, shard.digest, forged))
            await session.send(JoinTasks((TaskJoin(shard.digest, shard.size, artifact.endpoint),)))
            await session.send(LeaseRequest(shard.digest, 4))
            yield session
            lying.cancel()
    finally:
        await asyncio.to_thread(server.close)
        os.close(forged.fd)


@pytest.mark.parametrize("rejects", [False, True], ids=["says nothing", "rejects the shard itself"])
async def test_a_reader_that_announces_false_digests(cluster: EngineCluster, rejects: bool) -> None:
    """The shard's own digest finds it out; then one honest node reads alone and the others follow it."""
    files = model(12 * MIB)
    artifact = cluster.origin.add(REFERENCE, files)
    async with liar(cluster, artifact) as session, AsyncExitStack() as stack:
        if rejects:
            await session.send(ShardRejected(artifact.shards[0].digest))
        nodes = [await stack.enter_async_context(cluster.node(name)) for name in "ab"]
        async with asyncio.timeout(60):
            for path in await asyncio.gather(*(node.pull() for node in nodes)):
                assert_right(path, files)


async def test_a_member_that_gives_the_shard_another_size(cluster: EngineCluster) -> None:
    artifact = cluster.origin.add(REFERENCE, model(3 * MIB))
    shard = artifact.shards[0]
    async with cluster.control.open(Hello(PROTOCOL, LIAR, "liar", "0", "127.0.0.1:1")) as session:
        await session.send(JoinTasks((TaskJoin(shard.digest, shard.size + 1, artifact.endpoint),)))
        async with cluster.node("a") as node, asyncio.timeout(60):
            with pytest.raises(IntegrityError, match=r"part-0\.safetensors .* 3145728 bytes .* says 3145729"):
                await node.pull()
    async with cluster.node("a") as node:
        await node.pull()


async def test_a_pull_that_fails_for_an_unknown_reason_ends(cluster: EngineCluster) -> None:
    """Half a character cannot be in a file's name: nobody thought of it, and still whoever waits is told."""
    async with cluster.node("a") as node:
        pull = node.pulls.start("memory://org/\ud800:v1")
        with pytest.raises(PullFailed, match="UnicodeEncodeError"):
            await node.pulls.wait(pull)
        assert pull.snapshot().state == "failed"
