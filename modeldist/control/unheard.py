"""Closes connections on which the head of a request does not come: they need no token, and each holds a descriptor that
an agent could have. Where there are too many, the one that has waited longest without a question makes room."""

from __future__ import annotations

from collections import deque
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
    def is_closing(self) -> bool: ...


_Seen = tuple[HttpConnection, Cycle | None, float]


class Unheard:
    """Looked at now and then, with all connections that speak HTTP."""

    def __init__(self) -> None:
        self._since: dict[int, _Seen] = {}
        self._order: deque[_Seen] | None = None  # of those, who makes room first; made where it is wanted

    def check(self, connections: Iterable[HttpConnection], now: float) -> None:
        """`now` in seconds. A connection whose answer is still being made is left alone."""
        before, self._since, self._order = self._since, {}, None
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

    def make_room(self) -> HttpConnection | None:
        """The connection that was closed for another one: of those that waited when they were looked at last, first
        who never asked, then who asks no more. None where all have asked."""
        if self._order is None:
            self._order = deque(sorted(self._since.values(), key=lambda seen: (seen[1] is not None, seen[2])))
        while self._order:
            connection, cycle, _ = self._order.popleft()
            if connection.cycle is cycle and not connection.transport.is_closing():
                connection.transport.abort()
                return connection
        return None
