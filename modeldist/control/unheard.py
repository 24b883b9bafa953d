"""Closes connections on which the head of a request does not come: they need no token, and each holds a descriptor that
an agent could have."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

HEAD_WITHIN = 20.0  # seconds, for a first request and for each later one; a head is one packet


class Cycle(Protocol):
    """One request and its answer."""

    response_complete: bool


class HttpConnection(Protocol):
    """What uvicorn's HTTP protocols have in common. `cycle`: the last request whose head came."""

    cycle: Cycle | None

    @property
    def transport(self) -> Closes: ...


class Closes(Protocol):
    def abort(self) -> None: ...


class Unheard:
    """Looked at now and then, with all connections that speak HTTP."""

    def __init__(self) -> None:
        self._since: dict[int, tuple[HttpConnection, Cycle | None, float]] = {}

    def check(self, connections: Iterable[HttpConnection], now: float) -> None:
        """`now` in seconds. A connection whose answer is still being made is left alone."""
        before, self._since = self._since, {}
        for connection in connections:
            cycle = connection.cycle
            if cycle is not None and not cycle.response_complete:
                continue
            known = before.get(id(connection))
            if known is None or known[:2] != (connection, cycle):
                known = (connection, cycle, now)
            if now - known[2] > HEAD_WITHIN:
                connection.transport.abort()
            else:
                self._since[id(connection)] = known
