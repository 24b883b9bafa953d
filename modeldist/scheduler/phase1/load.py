"""A node's measured load, by sequence number; load that is too old is unknown, not remembered."""

from __future__ import annotations

from modeldist.scheduler.messages import Load


class LoadRecord:
    def __init__(self, stale_after: float) -> None:
        self._stale_after = stale_after
        self._seq: int | None = None
        self._load = Load()
        self._at = 0.0

    def accept(self, seq: int, load: Load, now: float) -> bool:
        """False for a report that was overtaken by a later one."""
        if self._seq is not None and seq <= self._seq:
            return False
        self._seq, self._load, self._at = seq, load, now
        return True

    def age(self, now: float) -> float | None:
        """Seconds since the last report; None before the first."""
        return None if self._seq is None else now - self._at

    def at(self, now: float) -> Load | None:
        """The load, or None when it is unknown: never reported, or too long ago."""
        return self._load if self._seq is not None and now - self._at <= self._stale_after else None
