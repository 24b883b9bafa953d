"""The rate of something that only grows, over the last few seconds."""

from __future__ import annotations

from collections import deque

WINDOW = 4.0  # seconds
LEAST = 0.5  # seconds; what began less long ago has no rate yet


class RateMeter:
    """Pure: times (seconds, any origin) and counts (bytes) are given. The rate is 0 until it means something. What is
    measured has begun anew where time goes back."""

    def __init__(self, window: float = WINDOW) -> None:
        self._window = window
        self._samples: deque[tuple[float, int]] = deque()

    def add(self, at: float, count: int) -> None:
        if self._samples and at < self._samples[-1][0]:
            self._samples.clear()
        self._samples.append((at, count))
        while len(self._samples) > 2 and self._samples[1][0] <= at - self._window:
            self._samples.popleft()

    @property
    def per_second(self) -> float:
        if not self._samples:
            return 0.0
        (start, before), (end, now) = self._samples[0], self._samples[-1]
        return max(0.0, (now - before) / (end - start)) if end - start >= LEAST else 0.0
