"""Reads of small shards, many in a row by one thread.

A read of a few KiB is a dozen system calls, and at each of them threads hand the interpreter to each other: two threads
take longer than one, unless they wait for the origin. What has been read is told of together, since waking who is told
costs as much as a read.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Generic, TypeVar

_TOGETHER = 16  # reads told of at once
_SOON = 0.02  # seconds from one telling to the next, while reads take that long
_LOOKED_AT = 0.05  # seconds that tell how fast reads are
_SLOW = 0.01  # seconds a read; from there on it is the origin that is waited for

Read = TypeVar("Read")


class SmallReads(Generic[Read]):
    """Calls `read` in up to `threads` threads of `pool`, in one as long as that is fast, and `tell` from any thread."""

    def __init__(
        self,
        pool: Executor,
        threads: int,
        read: Callable[[Read], None],
        tell: Callable[[Sequence[Read]], None],
        clock: Callable[[], float],
    ) -> None:
        self._pool = pool
        self._threads = threads
        self._read = read
        self._tell = tell
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: deque[Read] = deque()
        self._width = 1
        self._at_work = 0
        self._ended: list[Read] = []
        self._told_at = clock()
        self._done = 0
        self._looked_at = clock()

    def add(self, read: Read) -> None:
        with self._lock:
            if not self._at_work:
                self._done, self._looked_at = 0, self._clock()
            self._waiting.append(read)
            self._employ()

    def tick(self) -> None:
        """Some time has passed: tell of what has ended, and read by several threads where one waits for the origin."""
        with self._lock:
            ended, self._ended = self._ended, []
            now = self._clock()
            if self._at_work and (passed := now - self._looked_at) >= _LOOKED_AT:
                if self._done * _SLOW < passed:
                    self._width = self._threads
                self._done, self._looked_at = 0, now
            self._employ()
        if ended:
            self._tell(ended)

    def _employ(self) -> None:
        """Called with the lock held."""
        while self._at_work < min(self._width, self._at_work + len(self._waiting)):
            self._at_work += 1
            self._pool.submit(self._drain)

    def _drain(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._at_work -= 1
                    ended, self._ended = self._ended, []
                    break
                read = self._waiting.popleft()
            self._read(read)
            with self._lock:
                self._done += 1
                self._ended.append(read)
                now = self._clock()
                if len(self._ended) < _TOGETHER and now - self._told_at < _SOON:
                    continue
                ended, self._ended = self._ended, []
                self._told_at = now
            self._tell(ended)
        if ended:
            self._tell(ended)
