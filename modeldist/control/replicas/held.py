"""One term of this replica: whether it may still act as the leader. Asked on the server's loop before anything is said
or granted, told by the thread that keeps the lock."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Future

from modeldist.control.store.terms import Term

BELIEVED = 3.0  # seconds after a beat was sent; PostgreSQL frees the lock no sooner than lock.FREED_AFTER


def clock() -> float:
    """Seconds that pass also while the process, or the machine, is stopped."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Held:
    """`over` is set when the term ends, on the loop that made this; `why` says what ended it. `begun`: when the last
    statement that PostgreSQL answered was sent."""

    def __init__(self, term: Term, begun: float, loop: asyncio.AbstractEventLoop) -> None:
        self.term = term
        self.why = ""
        self.over = asyncio.Event()
        self.left: Future[None] = Future()  # everything that the term opened is closed
        self._loop = loop
        self._contested = True
        self._until = begun + BELIEVED

    def valid(self) -> bool:
        return not self.why and clock() < self._until

    def extend(self, begun: float, *, contested: bool) -> None:
        """A beat that was sent at `begun` was answered; `contested`: another replica stands by."""
        self._contested = contested
        self._until = begun + BELIEVED

    def awake(self, now: float) -> None:
        """The thread that keeps the lock runs. Where no other replica was there, nobody takes over while PostgreSQL is
        away, and the term goes on; but not of a process that stood still for so long that the lock is free: one that
        was started meanwhile may have it."""
        if not self._contested and now < self._until:
            self._until = now + BELIEVED

    def lost(self, why: str) -> None:
        """The connection that holds the lock is gone."""
        if self._contested:
            self.end(why)

    def end(self, why: str) -> None:
        """From any thread; harmless when it has ended."""
        self.why = self.why or why
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.over.set)
