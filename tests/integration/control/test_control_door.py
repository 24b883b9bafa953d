"""Strangers who begin TLS and do not end it hold no descriptors that agents need."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from modeldist.control.door import Door
from tests.servers.certificates import issue
from tests.servers.scripted_agent import PATIENCE

Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Greets(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"come in")
        transport.close()


@asynccontextmanager
async def door(folder: Path) -> AsyncIterator[tuple[int, ssl.SSLContext]]:
    """Its port, and what trusts it."""
    authority, cert, key = issue(folder)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(cert, key)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        opened = Door(listening, Greets, tls)
        try:
            yield listening.getsockname()[1], ssl.create_default_context(cafile=str(authority))
        finally:
            opened.close()


async def stranger(port: int) -> Ends:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"\x16\x03\x01")
    return reader, writer


async def ended(ends: Ends) -> None:
    reader, writer = ends
    async with asyncio.timeout(PATIENCE):
        with suppress(ConnectionError):
            await reader.read()
    writer.transport.abort()


async def let_in(port: int, trusting: ssl.SSLContext) -> bytes:
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
        said = await reader.read()
    writer.transport.abort()
    return said


async def test_a_handshake_has_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modeldist.control.door.HANDSHAKE_WITHIN", 0.3)
    async with door(tmp_path) as (port, _):
        await ended(await stranger(port))


async def test_where_many_shake_hands_the_oldest_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modeldist.control.door.HANDSHAKE_WITHIN", 10 * PATIENCE)
    monkeypatch.setattr("modeldist.control.door.MOST_SHAKING", 3)
    async with door(tmp_path) as (port, trusting):
        strangers = [await stranger(port) for _ in range(8)]
        assert await let_in(port, trusting) == b"come in"
        for first in strangers[:6]:
            await ended(first)
        for last in strangers[6:]:
            assert not last[0].at_eof()
            last[1].transport.abort()
