"""Faults of nodes, origin and control plane in a swarm, each test named after its fault."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from contextlib import AsyncExitStack

import pytest

from modeldist.agent.config import EngineConfig
from modeldist.artifact import Digest
from modeldist.control.inprocess import InProcessControl
from modeldist.errors import AccessDenied, IntegrityError, OriginUnavailable
from modeldist.scheduler.phase1 import Phase1, Phase1Config
from modeldist.transfer.base import ServerLimits
from tests.servers.engine_cluster import MIB, REFERENCE, EngineCluster, EngineNode, assert_right, model, until


def damage(node: EngineNode, digest: Digest) -> None:
    """Invert every byte of a complete shard behind the store's back."""
    path = node.store.path(digest)
    assert path is not None
    path.chmod(0o644)
    path.write_bytes(bytes(byte ^ 0xFF for byte in path.read_bytes()))


async def test_a_parent_with_a_damaged_copy_is_found_out(cluster: EngineCluster) -> None:
    """It sends wrong pieces, is told apart by their digests, and not one of its bytes is kept."""
    files = model(12 * MIB)
    artifact = cluster.origin.add(REFERENCE, files)
    async with cluster.node("bad") as bad, cluster.node("good") as good, cluster.node("child") as child:
        await bad.pull()
        await good.pull()
        damage(bad, artifact.shards[0].digest)
        path, final = await child.pull_and_tell()
        assert_right(path, files)
        cluster.assert_read_once(artifact)
        assert [share.node for share in final.parents] == [good.store.node_id]
        assert any(f"from node {bad.store.node_id} was wrong" in note for note in final.notes)


async def test_a_parent_that_vanishes_in_mid_transfer(cluster: EngineCluster) -> None:
    files = model(32 * MIB)
    artifact = cluster.origin.add(REFERENCE, files)
    slow = ServerLimits(upload_rate=8.0 * MIB)
    async with AsyncExitStack() as stack:
        first, second = [await stack.enter_async_context(cluster.node(name, limits=slow)) for name in ("p", "q")]
        child = await stack.enter_async_context(cluster.node("child"))
        await first.pull()
        await second.pull()
        pull = child.pulls.start(REFERENCE)
        await until(lambda: pull.snapshot().peers > 2 * MIB)
        await asyncio.to_thread(first.server.close)
        assert_right(await child.pulls.wait(pull), files)
        cluster.assert_read_once(artifact)


async def test_the_only_holder_leaves_and_the_origin_is_read_again_for_what_is_missing(cluster: EngineCluster) -> None:
    files = model(24 * MIB)
    artifact = cluster.origin.add(REFERENCE, files)
    async with AsyncExitStack() as stack:
        holder = await stack.enter_async_context(cluster.node("holder", limits=ServerLimits(upload_rate=6.0 * MIB)))
        child = await stack.enter_async_context(cluster.node("child"))
        await holder.pull()
        pull = child.pulls.start(REFERENCE)
        await until(lambda: pull.snapshot().peers > 2 * MIB)
        await holder.pulls.close()
        await holder.engine.close()
        await asyncio.to_thread(holder.server.close)
        assert_right(await child.pulls.wait(pull), files)
        final = pull.snapshot()
        assert final.origin + final.peers == artifact.size
        assert cluster.origin.bytes_read[artifact.shards[0].digest] == artifact.size + final.origin


async def test_an_origin_that_fails_for_a_while(cluster: EngineCluster) -> None:
    files = model(8 * MIB)
    artifact = cluster.origin.add(REFERENCE, files)
    failures = iter([OriginUnavailable("The origin is away."), OriginUnavailable("The origin is away.")])

    def before_chunk(shard: Digest, position: int) -> None:
        if position >= 3 * MIB and (error := next(failures, None)):
            raise error

    cluster.origin.before_chunk = before_chunk
    async with cluster.node("a") as node:
        path, final = await node.pull_and_tell()
        assert_right(path, files)
        cluster.assert_read_once(artifact)
        assert any("The origin is away." in note for note in final.notes)


async def test_an_origin_that_stays_away_fails_the_pull_and_keeps_the_pieces(cluster: EngineCluster) -> None:
    files = model(8 * MIB)
    artifact = cluster.origin.add(REFERENCE, files)

    def before_chunk(shard: Digest, position: int) -> None:
        if position >= 3 * MIB:
            raise OriginUnavailable("The origin is away.", remedy="Wait for it.")

    async with cluster.node("a") as node:
        cluster.origin.before_chunk = before_chunk
        with pytest.raises(OriginUnavailable, match=r"part-0\.safetensors: The origin is away"):
            await node.pull()
        before = cluster.origin.bytes_read[artifact.shards[0].digest]
        cluster.origin.before_chunk = lambda shard, position: None
        path, final = await node.pull_and_tell()
        assert_right(path, files)
        assert 0 < before < artifact.size
        assert final.local == before
        cluster.assert_read_once(artifact)


async def test_an_origin_that_denies_access_fails_at_once(cluster: EngineCluster) -> None:
    cluster.origin.add(REFERENCE, model(4 * MIB))

    def before_chunk(shard: Digest, position: int) -> None:
        raise AccessDenied("You may not read this.", remedy="Ask its owner.")

    cluster.origin.before_chunk = before_chunk
    async with cluster.node("a") as node:
        with pytest.raises(AccessDenied, match="You may not read this"):
            await node.pull()


@pytest.mark.parametrize("size", [MIB // 2, 5 * MIB], ids=["one piece", "several pieces"])
async def test_an_origin_with_wrong_content_is_refused(cluster: EngineCluster, size: int) -> None:
    artifact = cluster.origin.add(REFERENCE, model(size))
    digest = artifact.shards[0].digest
    cluster.origin.blobs[digest] = os.urandom(size)
    async with cluster.node("a") as node:
        with pytest.raises(IntegrityError, match=r"part-0\.safetensors"):
            await node.pull()
        assert not node.store.has(digest)
        assert not list((node.store.root / "partial").glob("*/data"))


async def test_wrong_content_in_a_swarm_reaches_no_store(cluster: EngineCluster) -> None:
    artifact = cluster.origin.add(REFERENCE, model(6 * MIB))
    digest = artifact.shards[0].digest
    cluster.origin.blobs[digest] = os.urandom(6 * MIB)
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(cluster.node(name)) for name in "abc"]
        results = await asyncio.gather(*(node.pull() for node in nodes), return_exceptions=True)
        assert all(isinstance(result, IntegrityError) for result in results), results
        assert not any(node.store.has(digest) for node in nodes)


async def test_a_control_plane_that_restarts_in_mid_pull(cluster: EngineCluster) -> None:
    """Transfers go on, the new one is told what is held, nothing is read twice."""
    files = model(24 * MIB)
    artifact = cluster.origin.add(REFERENCE, files)
    links = Switch(cluster)
    cluster.control = links
    gate = threading.Event()

    def before_chunk(shard: Digest, position: int) -> None:
        if position >= 12 * MIB:
            gate.wait(30)

    cluster.origin.before_chunk = before_chunk
    async with cluster.node("a") as first, cluster.node("b") as second:
        pulls = [(node, node.pulls.start(REFERENCE)) for node in (first, second)]
        await until(lambda: sum(pull.snapshot().origin for _, pull in pulls) >= 8 * MIB)
        await links.restart()
        gate.set()
        for node, pull in pulls:
            assert_right(await node.pulls.wait(pull), files)
        cluster.assert_read_once(artifact)


async def test_sessions_that_break_in_mid_pull(cluster: EngineCluster) -> None:
    """Both nodes go on reading; they come back before anything is granted to somebody else."""
    files = model(24 * MIB)
    artifact = cluster.origin.add(REFERENCE, files)
    assert isinstance(cluster.control, InProcessControl)
    core = cluster.control.core
    async with cluster.node("a") as first, cluster.node("b") as second:
        pulls = [(node, node.pulls.start(REFERENCE)) for node in (first, second)]
        for part in (4, 8, 16):
            await until(lambda part=part: sum(pull.snapshot().origin for _, pull in pulls) >= part * MIB)  # type: ignore[misc]
            for session in list(core.sessions.values()):
                core.disconnect(session, "the connection was lost", lost=True)
        for node, pull in pulls:
            assert_right(await node.pulls.wait(pull), files)
        cluster.assert_read_once(artifact)


class Switch:
    """A control plane that can be replaced by an empty one, its sessions cut."""

    def __init__(self, cluster: EngineCluster) -> None:
        self._cluster = cluster
        self._control = InProcessControl(cluster.origin, time.monotonic)

    def open(self, hello):  # type: ignore[no-untyped-def]
        return self._control.open(hello)

    async def restart(self) -> None:
        scheduler = Phase1(Phase1Config(), random.Random(2))
        scheduler.expect(self._control.core.sessions, time.monotonic())
        new = InProcessControl(self._cluster.origin, time.monotonic, scheduler=scheduler)
        old, self._control = self._control, new
        await old.core.close()


async def test_a_slow_parent_does_not_hold_up_the_end(cluster: EngineCluster) -> None:
    files = model(16 * MIB)
    artifact = cluster.origin.add(REFERENCE, files)
    async with AsyncExitStack() as stack:
        slow = await stack.enter_async_context(cluster.node("slow", limits=ServerLimits(upload_rate=4.0 * MIB)))
        fast = await stack.enter_async_context(cluster.node("fast"))
        child = await stack.enter_async_context(cluster.node("child"))
        await slow.pull()
        await fast.pull()
        path, final = await child.pull_and_tell()
        assert_right(path, files)
        cluster.assert_read_once(artifact)
        shares = {share.node: share.bytes for share in final.parents}
        assert shares.get(slow.store.node_id, 0) < artifact.size / 2


async def test_a_node_of_one_stream_still_finishes(cluster: EngineCluster) -> None:
    files = model(6 * MIB, 2 * MIB, 10)
    artifact = cluster.origin.add(REFERENCE, files)
    async with cluster.node("a", config=EngineConfig(origin_streams=1, verify_threads=1)) as node:
        assert_right(await node.pull(), files)
        cluster.assert_read_once(artifact)


async def test_a_lease_taken_back_while_its_reader_waits_counts_as_a_failure(cluster: EngineCluster) -> None:
    """Otherwise a dead origin's leases would go round for ever, each ended before its reader gives up."""
    cluster.origin.add(REFERENCE, model(2 * MIB))
    cluster.control = InProcessControl(
        cluster.origin, time.monotonic, scheduler=Phase1(Phase1Config(lease_timeout=0.3), random.Random(1))
    )
    cluster.origin.backs_off = True
    async with cluster.node("a") as node:
        with pytest.raises(OriginUnavailable, match=r"part-0\.safetensors"):
            await node.pull()
