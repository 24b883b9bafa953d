"""Engines of a control plane that has no room: they wait, as long as they have patience, and pull when there is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from modeldist.agent.config import EngineConfig
from modeldist.agent.link import WebSocketLink
from modeldist.artifact import Digest
from modeldist.errors import Overloaded
from modeldist.scheduler.messages import JoinTasks, LeaveTasks, TaskJoin, TaskJoined
from tests.servers.control_plane import served_control_plane
from tests.servers.engine_cluster import REFERENCE, EngineCluster, assert_right, model, until
from tests.servers.scripted_agent import ScriptedAgent, scripted_agent

TASK = Digest("sha256:" + "ab" * 32)


@asynccontextmanager
async def full(tmp_path: Path, cluster: EngineCluster) -> AsyncIterator[ScriptedAgent]:
    """A control plane, for the cluster, that holds as much as it may: the agent's task of 16,384 pieces."""
    async with served_control_plane(tmp_path / "state", cluster.origin, most_held=1 << 20) as served:
        cluster.control = WebSocketLink(served.url, served.agent_token)
        async with scripted_agent(served.ws, served.agent_token, "hog") as hog:
            await hog.send(JoinTasks((TaskJoin(TASK, 1 << 40, "o", piece_size=64 << 20),)))
            await hog.expect(TaskJoined)
            yield hog


async def test_a_shard_is_fetched_once_there_is_room(tmp_path: Path) -> None:
    cluster, files = EngineCluster(tmp_path), model(300_000, 10)
    cluster.origin.add(REFERENCE, files)
    async with full(tmp_path, cluster) as hog, cluster.node("a") as node:
        pulling = asyncio.create_task(node.pull())
        await until(lambda: any(fetch.turned_away for fetch in node.engine.node.fetches.values()))
        assert not pulling.done()
        await hog.send(LeaveTasks((TASK,)))
        assert_right(await asyncio.wait_for(pulling, 30), files)


async def test_patience_ends_with_the_reason(tmp_path: Path) -> None:
    cluster = EngineCluster(tmp_path)
    cluster.origin.add(REFERENCE, model(300_000))
    async with full(tmp_path, cluster), cluster.node("a", config=EngineConfig(patience=0.0)) as node:
        with pytest.raises(Overloaded, match="no room for"):
            await asyncio.wait_for(node.pull(), 30)
