"""Whoever connects to an agent's metrics and says nothing keeps no descriptors of the node's, and not for long."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import uvicorn
from starlette.responses import PlainTextResponse

from modeldist.agent.metrics.connection import ScrapeConnection
from tests.servers.scripted_agent import PATIENCE

ASKS = b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n"
Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def endpoint() -> AsyncIterator[int]:
    """Its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        app = PlainTextResponse("numbers")
        server = uvicorn.Server(uvicorn.Config(app, http=ScrapeConnection, lifespan="off", log_config=None))
        serving = asyncio.create_task(server.serve([listening]))
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            await serving


async def connected(port: int, said: bytes = b"") -> Ends:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(said)
    return reader, writer


async def answered(ends: Ends) -> bytes:
    """All that comes until the end."""
    said = b""
    async with asyncio.timeout(PATIENCE):
        with suppress(ConnectionError):
            while data := await ends[0].read(1 << 16):
                said += data
    ends[1].transport.abort()
    return said


async def test_a_head_has_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modeldist.agent.metrics.connection.HEAD_WITHIN", 0.2)
    async with endpoint() as port:
        assert await answered(await connected(port)) == b""
        assert await answered(await connected(port, ASKS[:9])) == b""
        assert (await answered(await connected(port, ASKS + ASKS[:9]))).endswith(b"numbers")


async def test_there_are_few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modeldist.agent.metrics.connection.MOST", 3)
    async with endpoint() as port:
        held = [await connected(port, ASKS[:9]) for _ in range(3)]
        assert await answered(await connected(port, ASKS)) == b""
        held[0][1].write(ASKS[9:])
        async with asyncio.timeout(PATIENCE):
            assert (await held[0][0].readuntil(b"numbers")).startswith(b"HTTP/1.1 200 ")
        for _, writer in held:
            writer.transport.abort()
