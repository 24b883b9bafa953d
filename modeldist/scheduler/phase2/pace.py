"""Whether a node of a line keeps up with the one before it, by how much of what that one gets it gets in the same time.

Nothing is asked of others meanwhile: in a line every uplink is full, so whoever helped would be behind next, and those
after it. Phase 1 is told, and ends the line.
"""

from __future__ import annotations

from collections import deque

_SPAN = 0.25  # seconds looked back
_AT_FIRST = 0.5  # seconds after a change in which the new parent may still send to the child it had before
_LEAST = 6  # pieces in that time; a share of fewer says nothing
_LACKING = 8  # pieces that the parent has; fewer are on their way, or were held up by chance
_SHORT = 0.65  # of what the parent got
_TIMES = 3  # such stretches in a row: a busy machine, or a lost packet, holds up anyone for a while


class Pace:
    """Looked at on every tick. If the parent gets nothing new it is caught up with at whatever rate."""

    def __init__(self, *, changed: float | None = None) -> None:
        """`changed`: when the parent became another one."""
        self._from = float("-inf") if changed is None else changed + _AT_FIRST
        self._samples: deque[tuple[float, int, int]] = deque()
        self._short = 0  # stretches in a row

    def falls_behind(self, received: int, parent: int, lacking: int, now: float) -> bool:
        """Whether that is to be told. Counts of pieces: `received` by this node, and by the parent, ever; `lacking`
        here and there now."""
        if now < self._from:
            return False
        self._samples.append((now, received, parent))
        while len(self._samples) > 1 and self._samples[1][0] <= now - _SPAN:
            self._samples.popleft()
        since, received_then, parent_then = self._samples[0]
        offered = parent - parent_then
        if now - since < _SPAN or offered < _LEAST or lacking <= _LACKING:
            return False
        if received - received_then >= _SHORT * offered:
            self._short = 0
            return False
        latest = self._samples[-1]
        self._samples.clear()
        self._samples.append(latest)
        self._short += 1
        return self._short >= _TIMES
