"""When a child asks its parent for lanes, and when again after they failed. Pure code."""

from __future__ import annotations

FIRST_PAUSE = 2.0  # seconds
LONGEST_PAUSE = 300.0  # seconds: one question in five minutes costs nothing, and finds a device that was mended


class LanePolicy:
    """Of one connection. Times in seconds of any monotonic clock."""

    def __init__(self) -> None:
        self._asking = False
        self._not_before = float("-inf")
        self._pause = FIRST_PAUSE

    def ask(self, now: float) -> bool:
        """Whether to ask now. If so, it counts as asked."""
        if self._asking or now < self._not_before:
            return False
        self._asking = True
        return True

    def opened(self) -> None:
        """At least one lane is open."""
        self._asking = False

    def proved(self) -> None:
        """Bytes came over a lane: the next failure is a first one."""
        self._pause = FIRST_PAUSE

    def failed(self, now: float) -> None:
        """There is no lane, or none any more."""
        self._asking = False
        self._not_before = now + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
