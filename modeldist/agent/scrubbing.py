"""The background thread that reads everything on this node again, slowly, and only while nothing else is done.

It runs at the lowest priority of CPU and disk, waits while shards are fetched or served, and keeps to a rate. How far a
round was is remembered over restarts, shard by shard.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from modeldist.agent.scrub_status import ScrubStatus
from modeldist.agent.store import Store
from modeldist.agent.store.allocation import give_way
from modeldist.agent.store.scrubbing import Target
from modeldist.errors import ModeldistError
from modeldist.logger import Logger
from modeldist.transfer.rate_limit import RateLimit

log = Logger(__name__)

RATE = 50e6  # bytes/s, or what brings a round to its end within half its time
FIRST = 600.0  # seconds after its start before an agent begins the first round of a store, at most half the period
LOOK = 0.2  # seconds between looks at whether the node is busy
LOOK_AGAIN = 3600.0  # seconds between looks at the clock, which may be set, while no round is due
AGAIN = 60.0  # seconds after a round that failed


@dataclass(frozen=True)
class Pace:
    """A round `every` so many seconds. `rate` in bytes/s; None: `RATE`, or more where the store is large."""

    every: float
    rate: float | None = None


class _Stopped(Exception):
    """The agent stops."""


class Scrub:
    """`busy` says whether to wait; `damaged` is told when something was withdrawn. Both are called in its thread."""

    def __init__(
        self,
        store: Store,
        pace: Pace,
        busy: Callable[[], bool],
        damaged: Callable[[], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._pace = pace
        self._busy = busy
        self._damaged = damaged
        self._clock = clock
        self._total = 0
        self._waiting = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scrub", daemon=True)
        self._first = clock() + min(FIRST, pace.every / 2)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Blocks for one read at most."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def status(self) -> ScrubStatus:
        return ScrubStatus(self._pace.every, self._store.scrubber.round, self._total, self._waiting)

    # --- in the thread ---

    def _run(self) -> None:
        give_way()
        _idle_disk()
        while not self._stop.wait(min(self._until_due(), LOOK_AGAIN)):
            if self._until_due():
                continue
            try:
                self._go_round()
            except _Stopped:
                self._store.scrubber.keep()
                return
            except (ModeldistError, OSError) as error:
                log.warning("a round of scrubbing was broken off", error=str(error))
                if self._stop.wait(AGAIN):
                    return

    def _until_due(self) -> float:
        found = self._store.scrubber.round
        due = found.began + self._pace.every if found.began and not found.running else self._first
        return 0.0 if found.running else max(0.0, due - self._clock())

    def _go_round(self) -> None:
        scrubber = self._store.scrubber
        if not scrubber.round.running:
            scrubber.begin()
        self._total = scrubber.bytes()
        rate = self._pace.rate or max(RATE, self._total / (self._pace.every / 2))
        limit = RateLimit(rate, time.monotonic)
        log.info("scrubbing", bytes=self._total, bytes_per_second=round(rate), after=scrubber.round.after)
        for target in scrubber.left():
            self._look(target, limit)
        scrubber.end()
        done = scrubber.round
        log.info("scrubbed", shards=done.shards, bytes=done.bytes, damaged=done.damaged)
        if done.ended - done.began > self._pace.every:
            log.warning(
                "a round of scrubbing took longer than its period",
                seconds=round(done.ended - done.began),
                remedy="Raise --scrub-rate or --scrub-every.",
            )

    def _look(self, target: Target, limit: RateLimit) -> None:
        read = 0

        def on_bytes(count: int) -> None:
            nonlocal read
            read += count
            self._rest(limit.spent(count))

        self._rest(0.0)
        scrubber = self._store.scrubber
        try:
            flaw, inode = scrubber.check(target, on_bytes)
        except OSError as error:
            log.warning("a shard could not be read again", path=str(target.path), error=str(error))
            return
        wrong = flaw in ("content", "unreadable") and inode is not None
        if wrong and inode is not None:
            file, model = scrubber.names(target)
            if scrubber.withdraw(target, inode):
                log.error(
                    "damaged on the disk, and withdrawn", path=str(target.path), flaw=flaw, file=file, model=model
                )
                self._damaged()
        scrubber.passed(target, read, damaged=wrong)

    def _rest(self, seconds: float) -> None:
        """For `seconds`, and as long as the node is busy. Raises _Stopped."""
        if self._stop.wait(seconds) if seconds else self._stop.is_set():
            raise _Stopped
        self._waiting = self._busy()
        while self._waiting:
            if self._stop.wait(LOOK):
                raise _Stopped
            self._waiting = self._busy()


def _idle_disk() -> None:
    """The disk only when nobody else wants it, for this thread, where its scheduler knows of that."""
    import psutil

    with suppress(psutil.Error, OSError, ValueError):
        psutil.Process(threading.get_native_id()).ionice(psutil.IOPRIO_CLASS_IDLE)
