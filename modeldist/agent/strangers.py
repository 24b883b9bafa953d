"""HTTP connections that anybody may open who reaches an address of the agent: few at once, and none for nothing.

No token is needed to connect, and each connection has a descriptor, of which pulls need some too.
"""

from __future__ import annotations

import asyncio
from typing import cast

import h11
from uvicorn.protocols.http.h11_impl import RequestResponseCycle

from modeldist.agent.complaints import ComplainingConnection

ASKED_WITHIN = 20.0  # seconds, for the whole of a first request


class StrangersConnection(ComplainingConnection):
    """Closed where no whole request comes. When there are `most`, one more takes the place of the one that has waited
    longest without one; it is closed itself where all of them have asked."""

    @property
    def most(self) -> int:
        raise NotImplementedError

    @property
    def between(self) -> float:
        """Seconds from an answer to the whole of the next request."""
        return ASKED_WITHIN

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._waits_since = self.loop.time()
        super().connection_made(transport)
        if len(self.connections) > self.most:
            self._make_room()
        self._look_later(ASKED_WITHIN)

    def connection_lost(self, exc: Exception | None) -> None:
        self._looks.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        self._waits_since = self.loop.time()
        super().on_response_complete()

    @property
    def _last(self) -> RequestResponseCycle | None:
        return cast("RequestResponseCycle | None", self.cycle)  # uvicorn says that there always is one

    @property
    def _asked(self) -> bool:
        """A request has come, whole, and has no whole answer yet."""
        cycle = self._last
        return cycle is not None and not cycle.response_complete and self.conn.their_state is not h11.SEND_BODY

    def _make_room(self) -> None:
        all_here = cast("set[StrangersConnection]", self.connections)
        waiting = (each for each in all_here if not each._asked and each is not self)
        longest = min(waiting, key=lambda each: each._waits_since, default=self)
        self.connections.discard(longest)  # aborted, it says so itself a turn later
        longest.transport.abort()

    def _look_later(self, seconds: float) -> None:
        self._looks = self.loop.call_later(seconds, self._look)

    def _look(self) -> None:
        if self.transport.is_closing():
            return
        allowed = ASKED_WITHIN if self._last is None else max(ASKED_WITHIN, self.between)
        left = self._waits_since + allowed - self.loop.time()
        if self._asked:
            self._look_later(ASKED_WITHIN)
        elif left > 0:
            self._look_later(left)
        else:
            self.transport.abort()
