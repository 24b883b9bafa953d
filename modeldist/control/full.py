"""A connection too many: it is told so and closed, before anything is kept for it."""

from __future__ import annotations

import asyncio
from typing import cast

import msgspec

from modeldist.control.views import Problem

SAID_WITHIN = 5.0  # seconds; whoever says nothing is closed
RETRY_AFTER = 2  # seconds; connections end one by one, and with each one comes in

_PROBES = (b"GET /healthz ", b"HEAD /healthz ")
_BODY = msgspec.json.encode(
    Problem(
        "Service Unavailable",
        503,
        "The control plane has as many connections as it takes.",
        "overloaded",
        remedy="Ask again later, or keep connections open and ask over those.",
        retry_after=RETRY_AFTER,
    )
)


def _answer(status: str, kind: str, body: bytes, more: str = "") -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{more}\r\n"
    )
    return head.encode() + body


_FULL = _answer("503 Service Unavailable", "application/problem+json", _BODY, f"Retry-After: {RETRY_AFTER}\r\n")
_ALIVE = _answer("200 OK", "text/plain; charset=utf-8", b"ok\n")  # nobody restarts a server because it is busy


class Full(asyncio.Protocol):
    """Reads what fits into one packet."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._last_call: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._last_call = asyncio.get_running_loop().call_later(SAID_WITHIN, self._transport.abort)

    def data_received(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(_ALIVE if data.startswith(_PROBES) else _FULL)
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._last_call is not None:
            self._last_call.cancel()
