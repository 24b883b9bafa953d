"""Whoever reaches the address of the metrics holds little of this node, and not for long.

No token is needed to connect, and each connection has a descriptor, of which pulls need some too.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

MOST = 64  # connections at once; a new one beyond that is closed
HEAD_WITHIN = 20.0  # seconds, for a first request and for each later one


class ScrapeConnection(H11Protocol):
    """One connection, closed where the head of a request does not come."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MOST:
            transport.abort()
        else:
            self._look_later()

    def _look_later(self) -> None:
        self.loop.call_later(HEAD_WITHIN, self._look, self.cycle)

    def _look(self, seen: RequestResponseCycle | None) -> None:
        """`seen`: the last request whose head had come the time before."""
        if self.transport.is_closing():
            return
        waits = seen is None or seen.response_complete
        if waits and self.cycle is seen:
            self.transport.abort()
        else:
            self._look_later()
