"""What a piece server is doing: the requests it took on, their bytes, and when it must say busy."""

from __future__ import annotations

import threading
from collections.abc import Callable

from modeldist.transfer.base import ServedLoad

_RATE_WINDOW = 0.5  # seconds
_SHORTEST_RETRY = 0.02
_LONGEST_RETRY = 2.0


class ServedAccount:
    """Shared by all connections of a server. `clock` in seconds."""

    def __init__(self, requests_in_service: int, clock: Callable[[], float]) -> None:
        self._limit = requests_in_service
        self._clock = clock
        self._lock = threading.Lock()
        self._requests = 0
        self._queued = 0
        self._sent = 0
        self._rate = 0.0
        self._window_start = clock()
        self._window_sent = 0

    def admit(self, length: int, *, waiting: int) -> bool:
        """Take on a request of `length` bytes from a child that has `waiting` others here. False: answer busy.

        A child with nothing waiting is always let in, so a greedy one cannot lock the others out.
        """
        with self._lock:
            if self._requests >= self._limit and waiting:
                return False
            self._requests += 1
            self._queued += length
            return True

    def sent(self, count: int, *, of_model: bool = True) -> None:
        """`count` bytes of a request left; of a model, or of the link shard."""
        with self._lock:
            self._queued -= count
            self._sent += count if of_model else 0
            self._window_sent += count
            now = self._clock()
            if now - self._window_start >= _RATE_WINDOW:
                self._rate = self._window_sent / (now - self._window_start)
                self._window_start = now
                self._window_sent = 0

    def finished(self, unsent: int) -> None:
        """A request is over, `unsent` bytes of it not sent."""
        with self._lock:
            self._requests -= 1
            self._queued -= unsent

    def retry_after(self) -> float:
        """Seconds after which about half of what waits now will have been sent."""
        with self._lock:
            wait = self._queued / (2 * self._rate) if self._rate else 0.0
        return min(max(wait, _SHORTEST_RETRY), _LONGEST_RETRY)

    def load(self) -> ServedLoad:
        with self._lock:
            return ServedLoad(self._requests, self._queued, self._sent)
