"""Messages waiting to be sent to one agent: bounded, so a stuck agent costs a bounded amount of memory."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

from modeldist.control.ports import Clock
from modeldist.session.messages import FromControl, Resolved, ResolveFailed

LIMIT = 50_000  # messages: joining 10,000 shard tasks at once makes about 30,000
STUCK_AFTER = 30.0  # seconds without one message taken, while some wait


def _nobody() -> None:
    """Whoever carries the session is not there yet."""


def _nothing(answer: Resolved | ResolveFailed) -> None:
    """Nobody wants to know."""


class Outbox:
    """Filled by the core, emptied by whatever carries the session: `on_news` is called when there is something to take
    and when it was closed, `on_taken` when an answer to a Resolve was taken. `answers`: how many of these wait.

    Beyond `limit` messages it closes itself: the agent reconnects and re-announces, which costs less than a backlog
    of instructions that are out of date.
    """

    __slots__ = ("_clock", "_closed", "_limit", "_progress_at", "_waiting", "answers", "on_news", "on_taken")

    def __init__(self, clock: Clock, limit: int = LIMIT) -> None:
        self._clock = clock
        self._limit = limit
        self._waiting: deque[FromControl] | None = None  # most of the time there is none, and a deque is 600 bytes
        self._progress_at = clock()
        self._closed: str | None = None
        self.answers = 0
        self.on_news: Callable[[], None] = _nobody
        self.on_taken: Callable[[Resolved | ResolveFailed], None] = _nothing

    def __len__(self) -> int:
        return len(self._waiting) if self._waiting else 0

    @property
    def closed(self) -> str | None:
        """Why it closed; None while it is open."""
        return self._closed

    def put(self, message: FromControl) -> None:
        """Queue a message; dropped once closed."""
        if self._closed is not None:
            return
        if self._waiting is None:
            self._progress_at = self._clock()
            self._waiting = deque()
        elif len(self._waiting) >= self._limit:
            self.close(f"the agent does not read: {len(self._waiting)} messages wait for it")
            return
        self._waiting.append(message)
        if isinstance(message, Resolved | ResolveFailed):
            self.answers += 1
        self.on_news()

    def peek(self) -> FromControl | None:
        """What `take` would give."""
        return self._waiting[0] if self._waiting else None

    def take(self) -> FromControl | None:
        """The next message, to be sent now; None when none waits."""
        if self._waiting is None:
            return None
        message = self._waiting.popleft()
        if isinstance(message, Resolved | ResolveFailed):
            self.answers -= 1
            self.on_taken(message)
        if self._waiting:
            self._progress_at = self._clock()
        else:
            self._waiting = None
        return message

    def close(self, reason: str) -> None:
        """End the session; what waits is dropped. The first reason stays."""
        if self._closed is None:
            self._closed = reason
            self._waiting = None
            self.answers = 0
            self.on_news()

    def stuck_for(self, now: float) -> float:
        """Seconds since the agent last took a message while some wait; 0 when none wait."""
        return now - self._progress_at if self._waiting else 0.0

    async def drain(self) -> AsyncIterator[FromControl]:
        """Messages in order until closed, for a carrier that waits. One at a time."""
        news = asyncio.Event()
        self.on_news = news.set
        while self._closed is None:
            news.clear()
            message = self.take()
            if message is None:
                await news.wait()
            else:
                yield message
