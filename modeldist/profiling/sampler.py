"""Samples stacks for some seconds."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter

from modeldist.errors import Overloaded, UsageError
from modeldist.profiling import LONGEST, SECONDS
from modeldist.profiling.stacks import of_tasks, of_threads

EVERY = 0.01  # seconds between two looks at threads
TASKS_EVERY = 10  # of these looks one is also at the tasks, which counts for as many
MOST = 20_000  # different stacks; others are counted together


class Profiler:
    """Of this process; one profile at a time. On one loop, whose tasks are looked at."""

    def __init__(self) -> None:
        self._running = False

    async def profile(self, seconds: float = SECONDS) -> str:
        """Collapsed stacks: a line for each different one, its frames with `;` between them and how often it was seen,
        the most frequent first. flamegraph.pl, speedscope and others read it. Time is passing time, whether a thread
        computes or waits: 100 are a second. Raises UsageError, Overloaded."""
        if not 0 < seconds <= LONGEST:
            raise UsageError(
                f"A profile of {seconds:g} seconds cannot be made.",
                remedy=f"Ask for more than 0 and {LONGEST:.0f} at most.",
            )
        if self._running:
            raise Overloaded("A profile is being made.", remedy="Ask again when it is done.", retry_after=seconds)
        self._running = True
        try:
            return await self._sampled(seconds)
        finally:
            self._running = False

    async def _sampled(self, seconds: float) -> str:
        seen: Counter[str] = Counter()
        over = threading.Event()
        sampling = threading.Thread(target=_look_at_threads, args=(seen, over, seconds), name="profile", daemon=True)
        sampling.start()
        tasks: Counter[str] = Counter()
        until = time.monotonic() + seconds
        try:
            while (left := until - time.monotonic()) > 0:
                _add(tasks, of_tasks(), TASKS_EVERY)
                await asyncio.sleep(min(left, EVERY * TASKS_EVERY))
        finally:
            over.set()
            await asyncio.to_thread(sampling.join)
        lines = (seen + tasks).most_common()
        return "".join(f"{stack} {count}\n" for stack, count in lines)


def _look_at_threads(seen: Counter[str], over: threading.Event, seconds: float) -> None:
    me, until = threading.get_ident(), time.monotonic() + seconds
    while not over.wait(EVERY) and time.monotonic() < until:
        _add(seen, of_threads(me), 1)


def _add(seen: Counter[str], stacks: list[str], weight: int) -> None:
    for stack in stacks:
        seen[stack if stack in seen or len(seen) < MOST else "others"] += weight
