"""An agent of bare bytes, which can misbehave where a WebSocket library would not let it."""

from __future__ import annotations

import asyncio
import base64
import os

from modeldist.session.messages import encode
from tests.servers.scripted_agent import hello


async def raw_agent(url: str, token: str, node: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """An agent that greets and from then on neither reads nor answers pings."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=4096)
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write(
        f"GET /session HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
        f"Authorization: Bearer {token}\r\n\r\n".encode()
    )
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    writer.write(frame(encode(hello(node))))
    return reader, writer


def frame(payload: bytes) -> bytes:
    """A masked binary WebSocket frame, as clients send them; the mask is zero."""
    length = len(payload)
    head = bytes([0x80 | length]) if length < 126 else b"\xfe" + length.to_bytes(2, "big")
    return b"\x82" + head + bytes(4) + payload
