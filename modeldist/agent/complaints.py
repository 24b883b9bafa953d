"""What the web server complains of whoever connects, once and then as a number: anybody who reaches an address of the
agent can send what is no HTTP as often as they like, and a line for each would fill the node's disk.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

COUNTED_FOR = 60.0  # seconds
MOST = 1000  # addresses that are told apart in that time
OTHERS = "others"

Later = Callable[[float, Callable[[], None]], object]
"""Seconds, and what is to be done then."""


class Complaints:
    """Of one listener. The first of a kind from an address is `said` at once, and how many more came each
    `COUNTED_FOR`, until none does."""

    def __init__(self, said: Callable[[str], None], later: Later) -> None:
        self._said = said
        self._later = later
        self._more: dict[tuple[str, str], int] = {}

    def note(self, what: str, address: str) -> None:
        """`what` is a sentence."""
        kind = what, address
        if kind not in self._more and len(self._more) >= MOST:
            kind = what, OTHERS
        if kind in self._more:
            self._more[kind] += 1
            return
        self._said(f"{what} It came from {kind[1]}; more of them are counted.")
        self._count(kind)

    def _count(self, kind: tuple[str, str]) -> None:
        self._more[kind] = 0
        self._later(COUNTED_FOR, lambda: self._tell(kind))

    def _tell(self, kind: tuple[str, str]) -> None:
        what, address = kind
        if more := self._more.pop(kind):
            self._said(f"{what} {more} more came from {address} within {COUNTED_FOR:.0f} s.")
            self._count(kind)


_of_server: WeakKeyDictionary[ServerState, Complaints] = WeakKeyDictionary()


class ComplainingConnection(H11Protocol):
    """An HTTP connection of uvicorn's whose warnings go to its server's `Complaints`. Errors of the application are
    logged as ever."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        complaints = _of_server.get(self.server_state)
        if complaints is None:
            complaints = _of_server[self.server_state] = Complaints(self.logger.warning, self.loop.call_later)
        address = self.client[0] if self.client else "a program of this machine"  # by the agent's socket
        self.logger = _Counting(self.logger, complaints, address)  # type: ignore[assignment]


class _Counting(logging.LoggerAdapter[logging.Logger]):
    def __init__(self, logger: logging.Logger, complaints: Complaints, address: str) -> None:
        super().__init__(logger)
        self._complaints = complaints
        self._address = address

    @property
    def level(self) -> int:
        return self.logger.level

    def warning(self, msg: object, *args: Any, **kwargs: Any) -> None:
        self._complaints.note(str(msg) % args if args else str(msg), self._address)
