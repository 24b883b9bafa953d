"""Requests to an ASGI application, as a server would hand them over, and what it answers; no socket between."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from urllib.parse import unquote

from starlette.types import ASGIApp, Message, Scope

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")


@dataclass(frozen=True)
class Asked:
    """One request. `target` is the path and the query as they are sent; header names in small letters."""

    method: str
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    @classmethod
    def read(cls, data: bytes) -> Asked:
        """Lines: method, target, headers (`name: value`), an empty one, the body. Of any bytes: what a server lets
        through is left of them (no controls in a target or a header)."""
        head, _, body = data.partition(b"\n\n")
        first, *rest = head.split(b"\n")
        method, _, target = first.partition(b" ")
        name = method.decode("latin-1").upper()
        headers = []
        for line in rest[:50]:
            key, colon, value = line.partition(b":")
            if colon and key.replace(b"-", b"").isalnum():
                headers.append((key.lower(), bytes(sign for sign in value.strip() if sign >= 32 and sign != 127)))
        shown = bytes(sign for sign in target if 32 < sign < 127)
        return cls(name if name in METHODS else "GET", shown or b"/", tuple(headers), body)

    def scope(self) -> Scope:
        raw, _, query = self.target.partition(b"?")
        return {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": self.method,
            "scheme": "http",
            "path": unquote(raw.decode("ascii")),
            "raw_path": raw,
            "query_string": query,
            "root_path": "",
            "headers": list(self.headers),
            "client": ("127.0.0.1", 50000),
            "server": ("127.0.0.1", 7430),
        }


@dataclass(frozen=True)
class Answer:
    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


async def ask(app: ASGIApp, asked: Asked, patience: float, enough: int = 1 << 20) -> Answer:
    """Raises what the application raises, TimeoutError after `patience` seconds, AssertionError for an answer that is
    none. A client that has `enough` bytes, or nothing new for a moment, hangs up."""
    status = 0
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body = bytearray()
    gone = asyncio.Event()
    told = False

    async def receive() -> Message:
        nonlocal told
        if not told:
            told = True
            return {"type": "http.request", "body": asked.body, "more_body": False}
        try:
            await asyncio.wait_for(gone.wait(), HANGS_UP)
        except TimeoutError:
            gone.set()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        nonlocal status, headers
        if message["type"] == "http.response.start":
            assert not status, "two answers"
            status, headers = message["status"], tuple(message.get("headers", ()))
        elif message["type"] == "http.response.body":
            assert status, "a body before its status"
            body.extend(message.get("body", b""))
            if len(body) > enough:
                gone.set()
        for name, value in headers:
            assert b"\n" not in name + value and b"\r" not in name + value, (name, value)

    async with asyncio.timeout(patience):
        await app(asked.scope(), receive, send)
    assert status, "no answer"
    return Answer(status, headers, bytes(body))


HANGS_UP = 0.05  # seconds after which a client that hears nothing more goes away
