"""The download limit of a node, for what it reads from origins; phase 2 keeps what peers send within the rest."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_BURST = 0.1  # seconds' worth that may come at once after a pause


class DownloadRate:
    """`rate` in bytes/s over all streams, None for no limit. A stream that was faster waits before it reads on, and
    the origin with it, once the socket's buffers are full."""

    def __init__(
        self,
        rate: float | None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rate = rate
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._paid_at = float("-inf")

    def took(self, count: int) -> None:
        """`count` bytes were read. Blocks for as long as they should have taken."""
        if self._rate is None or not count:
            return
        with self._lock:
            now = self._clock()
            self._paid_at = max(self._paid_at, now - _BURST) + count / self._rate
            wait = self._paid_at - now
        if wait > 0:
            self._sleep(wait)
