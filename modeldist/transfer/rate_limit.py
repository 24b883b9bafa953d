"""A limit of a node on what it sends, or reads from origins: one token bucket that all its streams draw from."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from modeldist.explain.waits import waits_for
from modeldist.transfer.frames import MAX_BLOCK

_BURST = 0.1  # seconds' worth that may be saved up while nothing moves
_SLICE = 0.05  # seconds' worth at a time, so that streams take turns often
_SMALLEST_BLOCK = 16 * 1024


class RateLimit:
    """`rate` in bytes/s, None for no limit; `clock` in seconds. Turns are given in the order of asking, one block each,
    so streams that always want more share the rate evenly."""

    def __init__(self, rate: float | None, clock: Callable[[], float]) -> None:
        if rate is not None and rate <= 0:
            raise ValueError(f"a limit of {rate} bytes/s lets nothing through")
        self._rate = rate
        self._clock = clock
        self._lock = threading.Lock()
        self._free_at = float("-inf")

    @property
    def block(self) -> int:
        """Most bytes to reserve at a time."""
        if self._rate is None:
            return MAX_BLOCK
        return min(max(int(self._rate * _SLICE), _SMALLEST_BLOCK), MAX_BLOCK)

    def reserve(self, count: int) -> float:
        """Book `count` bytes. Seconds to wait before they move."""
        return self._book(count)[0]

    def spent(self, count: int) -> float:
        """Book `count` bytes that have moved already. Seconds to wait before more do."""
        return self._book(count)[1]

    def _book(self, count: int) -> tuple[float, float]:
        """When they may begin to move, and when they have, in seconds from now."""
        if self._rate is None:
            return 0.0, 0.0
        with self._lock:
            now = self._clock()
            starts = max(self._free_at, now - _BURST)
            self._free_at = starts + count / self._rate
            return max(0.0, starts - now), max(0.0, self._free_at - now)


@waits_for("download_limit")
def sit_out(seconds: float) -> None:
    """What a limit on what comes asks for."""
    time.sleep(seconds)
