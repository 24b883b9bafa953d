"""Writing what changed in memory to the store soon, in few transactions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from modeldist.errors import NotLeading

log = logging.getLogger(__name__)

DELAY = 1.0  # seconds between two writes of mere progress


class WriteBehind:
    """Calls `flush` after `mark`: at once when urgent, else within `delay` seconds. One flush runs at a time.

    `flush` writes everything that is dirty; when it fails it must leave that dirty, and is called again.
    """

    def __init__(self, flush: Callable[[], Awaitable[None]], delay: float = DELAY) -> None:
        self._flush = flush
        self._delay = delay
        self._dirty = asyncio.Event()
        self._urgent = asyncio.Event()
        self._running = asyncio.create_task(self._run(), name="write behind")

    def mark(self, *, urgent: bool = False) -> None:
        self._dirty.set()
        if urgent:
            self._urgent.set()

    async def _run(self) -> None:
        while True:
            await self._dirty.wait()
            try:
                async with asyncio.timeout(self._delay):
                    await self._urgent.wait()
            except TimeoutError:
                pass
            self._dirty.clear()
            self._urgent.clear()
            try:
                await self._flush()
            except NotLeading:
                log.warning("not written: another replica leads now")
            except Exception:
                log.exception("the store could not be written; trying again")
                self._dirty.set()

    async def close(self) -> None:
        """Write what is dirty and stop."""
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        try:
            await self._flush()
        except NotLeading:
            log.warning("not written: another replica leads now")
        except Exception:
            log.exception("the store could not be written at the end")
