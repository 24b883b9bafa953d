"""The control plane as an application in somebody else's server: its sessions go through ASGI."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvicorn

from modeldist.control.app import app_of
from modeldist.control.plane import ControlPlane, running
from modeldist.control.settings import ServerSettings
from modeldist.session.messages import Resolve, Resolved, encode
from tests.servers.memory_origin import MemoryOrigin
from tests.servers.raw_agent import frame, raw_agent
from tests.servers.scripted_agent import PATIENCE, hello, open_socket, scripted_agent

REFERENCE = "memory://org/model:v1"


@asynccontextmanager
async def mounted(state: Path, origin: MemoryOrigin) -> AsyncIterator[tuple[ControlPlane, str, str]]:
    """The plane, its session's URL, an agent's token."""
    async with running(ServerSettings.load(state_dir=state, port=0), origins=origin) as plane:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            config = uvicorn.Config(app_of(plane), ws="websockets-sansio", lifespan="off", log_config=None)
            server = uvicorn.Server(config)
            serving = asyncio.create_task(server.serve(sockets=[listening]))
            try:
                url = f"ws://127.0.0.1:{listening.getsockname()[1]}/session"
                yield plane, url, (state / "agent.token").read_text().strip()
            finally:
                server.should_exit = True
                await serving


async def test_a_session_through_asgi(tmp_path: Path, origin: MemoryOrigin) -> None:
    async with mounted(tmp_path / "state", origin) as (_, url, token), scripted_agent(url, token, "a") as agent:
        await agent.send(Resolve(1, REFERENCE))
        assert (await agent.expect(Resolved)).artifact is not None
        async with scripted_agent(url, token, "a"):
            assert await agent.closed() == (1001, "replaced by a newer session of the same node")


async def test_an_agent_that_does_not_read_leaves_nothing(
    tmp_path: Path, origin: MemoryOrigin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modeldist.control.core.STUCK_AFTER", 0.3)
    monkeypatch.setattr("modeldist.control.asgi_frames.CLOSE_WITHIN", 0.1)
    origin.add("memory://org/large:v1", {f"{n:06}-{'x' * 100}": b"" for n in range(20_000)})
    async with mounted(tmp_path / "state", origin) as (plane, url, token):
        before = asyncio.all_tasks()
        _, writer = await raw_agent(url.replace("ws", "http", 1).removesuffix("/session"), token, "stuck")
        for request in range(40):
            writer.write(frame(encode(Resolve(request, "memory://org/large:v1"))))
        async with asyncio.timeout(PATIENCE):
            while asyncio.all_tasks() <= before:
                await asyncio.sleep(0.01)
            while plane.core.session("stuck") is not None or not asyncio.all_tasks() <= before:
                await asyncio.sleep(0.01)
        writer.transport.abort()


async def test_a_greeting_that_breaks_the_control_plane_is_logged_and_leaves_nothing(
    tmp_path: Path, origin: MemoryOrigin, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    async with mounted(tmp_path / "state", origin) as (plane, url, token):
        with monkeypatch.context() as patched, caplog.at_level(logging.ERROR, "modeldist.control"):
            patched.setattr(plane.scheduler, "node_joined", broken, raising=False)
            async with open_socket(url, token) as agent:
                await agent.send(hello("a", name="rack-1"))
                assert (await agent.closed())[0] == 1011
        assert "the greeting of agent a (rack-1) could not be handled" in caplog.text
        assert "ZeroDivisionError" in caplog.text
        assert plane.core.session("a") is None
        async with scripted_agent(url, token, "a"):
            pass
