"""Who is told next: the agents for whom messages wait, some milliseconds' worth of them per turn of the event loop.

New digests or parents concern thousands of agents at the same moment. Sent in one go they would hold up whoever asks
something in that moment; so the loop hears what agents say between two turns, and who speaks is answered first.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import Protocol

from modeldist.session.messages import FromControl, encode

log = logging.getLogger(__name__)

TURN = 0.004  # seconds
MOST_UNSENT = 128 << 20  # bytes of large answers that agents have not taken yet, all together


class Deliverable(Protocol):
    """A session for which messages may wait. `queued` is the delivery's own mark."""

    queued: bool

    def deliver(self) -> None: ...


class Delivery:
    """One per control plane, on its event loop. `most_unsent`: beyond so many bytes of large answers that their agents
    do not take, further ones wait for their turn."""

    def __init__(self, most_unsent: int = MOST_UNSENT) -> None:
        self._most_unsent = most_unsent
        self._unsent = 0
        self._for_room: deque[Deliverable] = deque()
        self._waiting: deque[Deliverable] = deque()
        self._scheduled = False
        self._message: FromControl | None = None
        self._frame = b""

    def ready(self, session: Deliverable) -> None:
        """Messages wait for it: its turn comes soon."""
        if session.queued:
            return
        session.queued = True
        self._waiting.append(session)
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._turn)

    def has_room(self, session: Deliverable) -> bool:
        """Whether a large answer may be sent now; if not, the session is told when to look again."""
        if self._unsent < self._most_unsent:
            return True
        if session not in self._for_room:
            self._for_room.append(session)
        return False

    def unsent(self, size: int) -> None:
        """So many bytes more, or fewer, wait for agents to take them."""
        self._unsent += size
        if self._for_room and self._unsent < self._most_unsent:
            waiting, self._for_room = self._for_room, deque()
            for session in waiting:  # in turn: whoever finds none is the last of those who wait for the next
                self.ready(session)

    def encode(self, message: FromControl) -> bytes:
        """A message for many is encoded once: they follow each other here."""
        if message is not self._message:
            self._message, self._frame = message, encode(message)
        return self._frame

    def _turn(self) -> None:
        until = time.perf_counter() + TURN
        while self._waiting:
            session = self._waiting.popleft()
            session.queued = False
            try:
                session.deliver()
            except Exception:
                log.exception("a session could not be served")
            if time.perf_counter() >= until:
                asyncio.get_running_loop().call_soon(self._turn)
                return
        self._scheduled = False
