"""Whoever connects to an agent's metrics, or to its gateway, and says nothing keeps few descriptors of the node's,
not for long, and nobody else out."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from modeldist.agent.gateway_connection import GatewayConnection
from modeldist.agent.metrics.connection import ScrapeConnection
from modeldist.agent.strangers import StrangersConnection
from tests.servers.scripted_agent import PATIENCE

ASKS = b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n"
ASKS_WITH_A_BODY = b"POST /metrics HTTP/1.1\r\nHost: here\r\nContent-Length: 9\r\n\r\n"
Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Kind = type[StrangersConnection]
MOST = 3


@pytest.fixture(params=[ScrapeConnection, GatewayConnection])
def kind(request: pytest.FixtureRequest) -> Kind:
    """Few at once, and little time."""

    class Small(request.param):  # type: ignore[misc, name-defined]
        most = MOST
        between = 0.5

    return Small


async def numbers(scope: Scope, receive: Receive, send: Send) -> None:
    await Request(scope, receive).body()
    await PlainTextResponse("numbers")(scope, receive, send)


@asynccontextmanager
async def endpoint(kind: Kind, app: ASGIApp = numbers) -> AsyncIterator[int]:
    """Its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, http=kind, lifespan="off", log_config=None))
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


async def one_answer(ends: Ends) -> bytes:
    async with asyncio.timeout(PATIENCE):
        return await ends[0].readuntil(b"numbers")


@contextmanager
def hung_up(*held: Ends) -> Iterator[None]:
    try:
        yield
    finally:
        for _, writer in held:
            writer.transport.abort()


async def test_a_request_has_its_time(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modeldist.agent.strangers.ASKED_WITHIN", 0.2)
    async with endpoint(kind) as port:
        assert await answered(await connected(port)) == b""
        assert await answered(await connected(port, ASKS[:9])) == b""
        assert await answered(await connected(port, ASKS_WITH_A_BODY)) == b""
        assert (await answered(await connected(port, ASKS + ASKS[:9]))).endswith(b"numbers")


async def test_what_is_no_http_is_complained_of_once(
    kind: Kind, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And then counted."""
    monkeypatch.setattr("modeldist.agent.complaints.COUNTED_FOR", 0.5)
    upgrades = b"GET / HTTP/1.1\r\nHost: here\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"
    async with endpoint(kind) as port:
        for _ in range(9):
            for said in (b"\x16\x03\x01 is TLS\r\n\r\n", b"nonsense\r\n\r\n"):
                assert (await answered(await connected(port, said))).startswith(b"HTTP/1.1 400 ")
        asks = await connected(port, upgrades)
        await one_answer(asks)
        asks[1].transport.abort()
        invalid = [said for said in caplog.messages if said.startswith("Invalid HTTP request received.")]
        assert invalid[0] == "Invalid HTTP request received. It came from 127.0.0.1; more of them are counted."
        assert any(said.startswith("Unsupported upgrade request.") for said in caplog.messages), "a kind of its own"
        async with asyncio.timeout(PATIENCE):
            while counted(caplog.messages) < 17:
                await asyncio.sleep(0.02)
        assert counted(caplog.messages) == 17


def counted(messages: list[str]) -> int:
    found = (re.search(r"Invalid HTTP request received\. (\d+) more came from 127", said) for said in messages)
    return sum(int(each[1]) for each in found if each)


async def test_who_asks_takes_the_place_of_who_does_not(kind: Kind) -> None:
    async with endpoint(kind) as port:
        first = await connected(port, ASKS[:9])
        others = [await connected(port, said) for said in (b"", ASKS_WITH_A_BODY)]
        with hung_up(first, *others):
            for _ in range(2 * MOST):
                asks = await connected(port, ASKS)
                assert (await one_answer(asks)).startswith(b"HTTP/1.1 200 ")
                asks[1].transport.abort()
            assert await answered(first) == b""


async def test_nobody_takes_the_place_of_who_is_being_answered(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    answer, asked = asyncio.Event(), asyncio.Semaphore(0)

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        asked.release()
        await answer.wait()
        await numbers(scope, receive, send)

    monkeypatch.setattr("modeldist.agent.strangers.ASKED_WITHIN", 0.1)
    async with endpoint(kind, slow) as port:
        held = [await connected(port, ASKS) for _ in range(MOST)]
        with hung_up(*held):
            async with asyncio.timeout(PATIENCE):
                for _ in held:
                    await asked.acquire()
            assert await answered(await connected(port, ASKS)) == b""
            answer.set()
            for ends in held:
                assert (await one_answer(ends)).startswith(b"HTTP/1.1 200 ")
