"""A swarm without faults: the origin is read once, everything arrives right, nothing moves twice."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack

import pytest

from modeldist.control.inprocess import InProcessControl
from modeldist.errors import Cancelled, NotFound
from tests.servers.engine_cluster import MIB, REFERENCE, EngineCluster, assert_right, model, until


async def test_one_node_pulls_and_a_second_pull_moves_nothing(cluster: EngineCluster) -> None:
    files = model(5 * MIB + 7, 100, 0)
    artifact = cluster.origin.add(REFERENCE, files)
    async with cluster.node("a") as node:
        first = await node.pull()
        assert_right(first, files)
        cluster.assert_read_once(artifact)
        pull = node.pulls.start(REFERENCE)
        assert await node.pulls.wait(pull) == first
        cluster.assert_read_once(artifact)
        assert (pull.snapshot().local, pull.snapshot().origin) == (artifact.size, 0)


async def test_four_nodes_at_once_read_the_origin_once(cluster: EngineCluster) -> None:
    files = model(24 * MIB + 123, 3 * MIB, 4096, 17)
    artifact = cluster.origin.add(REFERENCE, files)
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(cluster.node(name)) for name in "abcd"]
        pulls = [node.pulls.start(REFERENCE) for node in nodes]
        paths = await asyncio.gather(*(node.pulls.wait(pull) for node, pull in zip(nodes, pulls, strict=True)))
        for path in paths:
            assert_right(path, files)
        cluster.assert_read_once(artifact)
        finals = [pull.snapshot() for pull in pulls]
        assert sum(final.origin for final in finals) == artifact.size
        assert all(final.origin + final.peers == artifact.size for final in finals)


async def test_a_late_node_gets_everything_from_peers(cluster: EngineCluster) -> None:
    files = model(9 * MIB, 1000)
    artifact = cluster.origin.add(REFERENCE, files)
    async with cluster.node("early") as early, cluster.node("late") as late:
        await early.pull()
        pull = late.pulls.start(REFERENCE)
        assert_right(await late.pulls.wait(pull), files)
        cluster.assert_read_once(artifact)
        assert pull.snapshot().peers == artifact.size
        assert [share.node for share in pull.snapshot().parents] == [early.store.node_id]


async def test_a_restarted_node_still_offers_what_it_holds(cluster: EngineCluster) -> None:
    files = model(6 * MIB)
    artifact = cluster.origin.add(REFERENCE, files)
    async with cluster.node("a") as node:
        await node.pull()
    cluster.control = InProcessControl(cluster.origin, time.monotonic)  # the control plane restarts empty as well
    async with cluster.node("a"), cluster.node("b") as other:
        assert_right(await other.pull(), files)
        cluster.assert_read_once(artifact)


async def test_two_pulls_of_one_node_share_the_work(cluster: EngineCluster) -> None:
    files = model(8 * MIB, 3 * MIB)
    artifact = cluster.origin.add(REFERENCE, files)
    async with cluster.node("a") as node:
        first, second = await asyncio.gather(node.pull(), node.pull())
        assert first == second
        cluster.assert_read_once(artifact)


async def test_a_cancelled_pull_keeps_its_pieces(cluster: EngineCluster) -> None:
    files = model(16 * MIB)
    artifact = cluster.origin.add(REFERENCE, files)
    async with cluster.node("a") as node:
        pull = node.pulls.start(REFERENCE)
        await until(lambda: pull.snapshot().origin > 4 * MIB)
        node.pulls.cancel(pull.id)
        with pytest.raises(Cancelled, match="stopped"):
            await node.pulls.wait(pull)
        kept = pull.snapshot().kept
        assert 0 < kept < artifact.size
    async with cluster.node("a") as node:
        again = node.pulls.start(REFERENCE)
        assert_right(await node.pulls.wait(again), files)
        final = again.snapshot()
        assert (final.local, final.origin) == (kept, artifact.size - kept)


async def test_an_unknown_model_is_an_error_that_names_it(cluster: EngineCluster) -> None:
    async with cluster.node("a") as node:
        with pytest.raises(NotFound, match="org/absent"):
            await node.pull("memory://org/absent:v1")
