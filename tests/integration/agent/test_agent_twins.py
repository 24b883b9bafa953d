"""Two agents whose stores are copies of each other, at a real control plane."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from modeldist.agent.config import EngineConfig
from modeldist.agent.engine import Engine
from modeldist.agent.link import WebSocketLink
from modeldist.agent.pulls import Pulls
from modeldist.agent.store import Store
from modeldist.errors import ControlPlaneRefused
from modeldist.transfer.tcp import TcpTransport
from tests.servers.control_plane import ServedControlPlane, served_control_plane
from tests.servers.engine_cluster import REFERENCE, assert_right, until
from tests.servers.memory_origin import MemoryOrigin

FILES = {"model.safetensors": b"x" * 1000}


@asynccontextmanager
async def agent(served: ServedControlPlane, origin: MemoryOrigin, home: Path) -> AsyncIterator[tuple[Engine, Pulls]]:
    store = Store.open(home)
    link = WebSocketLink(served.url, served.agent_token)
    engine = Engine(store, link, origin, TcpTransport(), config=EngineConfig(name=home.name))
    pulls = Pulls(engine, lambda reference: reference)
    await engine.start()
    try:
        yield engine, pulls
    finally:
        await pulls.close()
        await engine.close()
        store.close()


async def test_of_two_agents_with_one_node_id_the_older_is_told_what_to_do(tmp_path: Path) -> None:
    origin = MemoryOrigin()
    origin.add(REFERENCE, FILES)
    Store.open(tmp_path / "image").close()
    for name in ("older", "newer"):
        shutil.copytree(tmp_path / "image", tmp_path / name)
    async with (
        served_control_plane(tmp_path / "state", origin) as served,
        agent(served, origin, tmp_path / "older") as (older, pulls),
    ):
        await until(lambda: older.session.connected)
        async with agent(served, origin, tmp_path / "newer") as (newer, others):
            await until(lambda: isinstance(older.session.last_error, ControlPlaneRefused))
            assert newer.session.connected
            with pytest.raises(ControlPlaneRefused, match="remove the file node-id") as refused:
                await pulls.wait(pulls.start(REFERENCE))
            assert "'newer'" in refused.value.message
            assert newer.session.connected  # asking again took nothing from it
            assert_right(await others.wait(others.start(REFERENCE)), FILES)
        # With the other one gone the node is its own again.
        assert_right(await pulls.wait(pulls.start(REFERENCE)), FILES)


async def test_an_agent_of_its_own_after_the_remedy(tmp_path: Path) -> None:
    origin = MemoryOrigin()
    origin.add(REFERENCE, FILES)
    Store.open(tmp_path / "older").close()
    shutil.copytree(tmp_path / "older", tmp_path / "newer")
    (tmp_path / "newer" / "node-id").unlink()
    async with (
        served_control_plane(tmp_path / "state", origin) as served,
        agent(served, origin, tmp_path / "older") as (older, _),
        agent(served, origin, tmp_path / "newer") as (newer, pulls),
    ):
        assert_right(await pulls.wait(pulls.start(REFERENCE)), FILES)
        await until(lambda: older.session.connected and newer.session.connected)
        assert {session.hello.name for session in served.plane.core.sessions.values()} == {"older", "newer"}
