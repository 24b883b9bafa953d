"""Virtual time: things to happen, in order of time and then of arrival."""

from __future__ import annotations

import heapq
from collections.abc import Callable


class Clock:
    """`now` in seconds since the start."""

    def __init__(self) -> None:
        self.now = 0.0
        self.events = 0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0

    def at(self, when: float, what: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._heap, (max(when, self.now), self._order, what))

    def after(self, seconds: float, what: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._heap, (self.now + seconds, self._order, what))

    def run(self, until: Callable[[], bool], limit: float) -> None:
        """Until `until()` holds, nothing is left to happen, or `limit` seconds have passed."""
        while self._heap and not until():
            when, _, what = heapq.heappop(self._heap)
            if when > limit:
                self.now = limit
                return
            self.now = when
            self.events += 1
            what()
