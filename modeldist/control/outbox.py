"""Messages waiting to be sent to one agent: bounded, so a stuck agent costs a bounded amount of memory."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from modeldist.control.ports import Clock
from modeldist.session.messages import FromControl

LIMIT = 50_000  # messages: joining 10,000 shard tasks at once makes about 30,000
STUCK_AFTER = 30.0  # seconds without one message taken, while some wait


class Outbox:
    """Filled by the core, drained by whatever carries the session. One consumer.

    Beyond `limit` messages it closes itself: the agent reconnects and re-announces, which costs less than a backlog
    of instructions that are out of date.
    """

    def __init__(self, clock: Clock, limit: int = LIMIT) -> None:
        self._clock = clock
        self._limit = limit
        self._waiting: deque[FromControl] = deque()
        self._wake = asyncio.Event()
        self._progress_at = clock()
        self._closed: str | None = None
        self._over = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def closed(self) -> str | None:
        """Why it closed; None while it is open."""
        return self._closed

    def put(self, message: FromControl) -> None:
        """Queue a message; dropped once closed."""
        if self._closed is not None:
            return
        if len(self._waiting) >= self._limit:
            self.close(f"the agent does not read: {len(self._waiting)} messages wait for it")
            return
        if not self._waiting:
            self._progress_at = self._clock()
        self._waiting.append(message)
        self._wake.set()

    def close(self, reason: str) -> None:
        """End the session; what waits is dropped. The first reason stays."""
        if self._closed is None:
            self._closed = reason
            self._waiting.clear()
            self._wake.set()
            self._over.set()

    async def wait_closed(self) -> str:
        """Why it closed, once it has: also while the consumer is stuck in sending."""
        await self._over.wait()
        return self._closed or ""

    def stuck_for(self, now: float) -> float:
        """Seconds since the agent last took a message while some wait; 0 when none wait."""
        return now - self._progress_at if self._waiting else 0.0

    async def drain(self) -> AsyncIterator[FromControl]:
        """Messages in order until closed."""
        while self._closed is None:
            if not self._waiting:
                self._wake.clear()
                await self._wake.wait()
                continue
            self._progress_at = self._clock()
            yield self._waiting.popleft()
