"""How a parent serves: what it has promised to its children and what they say they get."""

from __future__ import annotations

import math

from modeldist.scheduler.messages import ParentReport

_HALF_LIFE = 2.0  # seconds; of what children measured
_LEAST_MEASURED = 0.25  # seconds; over less a rate says how reports fell, not how the parent serves
_FAILURE_HALF_LIFE = 10.0  # seconds
_FAILING = 3.0


class Service:
    """One parent's record. Rates in bytes/s.

    A child that was assigned counts with a reserved share of the parent's capacity until it reports; from then on it
    counts with what it measured, so an idle child gives its reservation back.
    """

    def __init__(self, shares: int) -> None:
        self._shares = shares
        self._edges: dict[str, int] = {}  # child -> tasks it was assigned for
        self._measured: dict[str, float] = {}
        self._arrived: dict[str, tuple[float, int]] = {}  # child -> bytes since a moment, not measured yet
        self._rate = 0.0  # the sum of what is measured
        self._failures = 0.0
        self._failed_at = 0.0
        self._bytes = self._seconds = 0.0  # of all children's reports, the older the less
        self._faded = 0.0
        self.best: float = 0.0  # all children's together, the highest seen

    def assign(self, child: str) -> None:
        self._edges[child] = self._edges.get(child, 0) + 1

    def release(self, child: str) -> None:
        left = self._edges.get(child, 0) - 1
        if left > 0:
            self._edges[child] = left
        else:
            self._edges.pop(child, None)
            self._arrived.pop(child, None)
            if self._measured.pop(child, None) is not None:
                self._rate = sum(self._measured.values())

    @property
    def children(self) -> int:
        return len(self._edges)

    def report(self, child: str, report: ParentReport, interval: float, now: float) -> None:
        """`interval`: seconds the report covers."""
        if report.failures:
            self._failures = self.failures(now) + report.failures
            self._failed_at = now
        fade = math.exp2((self._faded - now) / _HALF_LIFE)
        self._faded = now
        self._bytes = self._bytes * fade + report.bytes
        self._seconds = self._seconds * fade + report.seconds
        if child in self._edges:
            self._measure(child, report.bytes, interval, now)

    def _measure(self, child: str, size: int, interval: float, now: float) -> None:
        since, before = self._arrived.get(child, (now - interval, 0))
        size += before
        if now - since < _LEAST_MEASURED:
            self._arrived[child] = (since, size)
            return
        self._arrived[child] = (now, 0)
        rate, last = size / (now - since), self._measured.get(child)
        gain = 1.0 if last is None else 1.0 - math.exp2((since - now) / _HALF_LIFE)
        self._measured[child] = (last or 0.0) + gain * (rate - (last or 0.0))
        self._rate += self._measured[child] - (last or 0.0)
        self.best = max(self.best, self._rate)

    @property
    def goodput(self) -> float | None:
        """Bytes/s of one child, while it had requests outstanding. A ratio of sums: reports are so short that a piece
        counts whole in one of them and its seconds in those before."""
        return self.sends(_LEAST_MEASURED)

    def sends(self, least: float) -> float | None:
        """The same, if it was measured for `least` seconds."""
        return self._bytes / self._seconds if self._seconds >= least and self._bytes else None

    def rate_to(self, child: str) -> float | None:
        return self._measured.get(child)

    def failures(self, now: float) -> float:
        """Recent failures; they count half after some seconds."""
        if not self._failures:
            return 0.0
        return self._failures * math.exp2((self._failed_at - now) / _FAILURE_HALF_LIFE)

    def failing(self, now: float) -> bool:
        return self.failures(now) >= _FAILING

    def utilisation(self, capacity: float | None) -> float:
        """Promised and measured over capacity; 1.0 is full. With unknown capacity each child counts one share."""
        if not capacity:
            return len(self._edges) / self._shares
        unmeasured = len(self._edges) - len(self._measured)
        return unmeasured / self._shares + self._rate / capacity
