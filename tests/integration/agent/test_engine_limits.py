"""Limits and priorities of one node, between two tasks and all its sources: real stores, real TCP piece servers."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack

from modeldist.agent.config import EngineConfig
from modeldist.scheduler.messages import Priority
from modeldist.transfer.base import ServerLimits
from tests.servers.engine_cluster import MIB, REFERENCE, EngineCluster, assert_right, model

URGENT = "memory://org/urgent:v1"


async def test_a_pull_for_serving_overtakes_a_prefetch(cluster: EngineCluster) -> None:
    later, urgent = model(12 * MIB), model(4 * MIB)
    cluster.origin.add(REFERENCE, later)
    cluster.origin.add(URGENT, urgent)
    async with AsyncExitStack() as stack:
        parent = await stack.enter_async_context(cluster.node("parent", limits=ServerLimits(upload_rate=8.0 * MIB)))
        child = await stack.enter_async_context(cluster.node("child"))
        await parent.pull(REFERENCE)
        await parent.pull(URGENT)
        prefetch = child.pulls.start(REFERENCE, priority=Priority.PREFETCH)
        assert_right(await child.pulls.wait(child.pulls.start(URGENT, priority=Priority.SERVING)), urgent)
        assert prefetch.snapshot().state != "done"
        assert_right(await child.pulls.wait(prefetch), later)


async def test_origin_and_peers_together_keep_to_the_download_limit(cluster: EngineCluster) -> None:
    files = model(6 * MIB)
    artifact = cluster.origin.add(REFERENCE, files)
    limited = EngineConfig(name="limited", download_rate=8.0 * MIB)
    async with AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(cluster.node("limited", config=limited)),
            await stack.enter_async_context(cluster.node("other")),
        ]
        pulls = [node.pulls.start(REFERENCE) for node in nodes]
        began = time.monotonic()
        assert_right(await nodes[0].pulls.wait(pulls[0]), files)
        assert time.monotonic() - began > 6 / 8 - 0.45  # what comes at once: 0.1 s from the origin, 0.25 s from peers
        await nodes[1].pulls.wait(pulls[1])
        cluster.assert_read_once(artifact)


async def test_a_lone_reader_keeps_to_the_download_limit(cluster: EngineCluster) -> None:
    files = model(4 * MIB)
    cluster.origin.add(REFERENCE, files)
    async with cluster.node("a", config=EngineConfig(download_rate=8.0 * MIB)) as node:
        began = time.monotonic()
        assert_right(await node.pull(), files)
        assert time.monotonic() - began > 4 / 8 - 0.15
