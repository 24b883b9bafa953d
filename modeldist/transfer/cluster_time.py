"""The time in which capabilities expire: the control plane's, which nobody sets.

It begins as the control plane's wall clock says, and goes on by a clock that only time moves. Agents are told it when a
session opens, and go on by such a clock of their own. So it does not matter what anybody's wall clock says, or whether
one jumps: what was issued for a day is good for a day, and then for nobody.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable


def since_boot() -> float:
    """Seconds, also of those in which the machine was suspended; never set."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class ClusterTime:
    """Held by the control plane. `wall`: what its clock says now, in seconds since the epoch; `noted`: the last of this
    time that its database knows, behind which it never goes, lest what had expired be good again."""

    def __init__(self, wall: float, noted: float = 0.0, clock: Callable[[], float] = since_boot) -> None:
        self._clock = clock
        self._ahead = max(wall, noted) - clock()

    def __call__(self) -> float:
        return self._clock() + self._ahead


class LearnedTime:
    """Held by every node that serves: the control plane's, as it was told last. It is behind by as long as telling
    took: ten seconds at most, or the greeting had failed. Read from many threads, learned in one."""

    def __init__(self, clock: Callable[[], float] = since_boot, wall: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._wall = wall
        self._ahead: float | None = None

    def learn(self, told: float | None) -> None:
        """None: by a control plane of an earlier release, whose time is every wall clock's. What is no number counts as
        that, too: in such a time nothing would expire."""
        self._ahead = None if told is None or not math.isfinite(told) else told - self._clock()

    def __call__(self) -> float:
        ahead = self._ahead
        return self._wall() if ahead is None else self._clock() + ahead
