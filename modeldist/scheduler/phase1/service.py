"""How a parent serves: what it has promised to its children and what they say they get."""

from __future__ import annotations

import math

from modeldist.scheduler.messages import ParentReport

_GAIN = 0.3
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
        self._rate = 0.0  # the sum of what is measured
        self._failures = 0.0
        self._failed_at = 0.0
        self.goodput: float | None = None  # one child's, while it had requests outstanding
        self.best: float = 0.0  # all children's together, the highest seen

    def assign(self, child: str) -> None:
        self._edges[child] = self._edges.get(child, 0) + 1

    def release(self, child: str) -> None:
        left = self._edges.get(child, 0) - 1
        if left > 0:
            self._edges[child] = left
        else:
            self._edges.pop(child, None)
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
        if report.bytes and report.seconds > 0:
            sample = report.bytes / report.seconds
            self.goodput = sample if self.goodput is None else self.goodput + _GAIN * (sample - self.goodput)
        if child in self._edges and interval > 0:
            rate = report.bytes / interval
            before = self._measured.get(child)
            after = self._measured[child] = rate if before is None else before + _GAIN * (rate - before)
            self._rate += after - (before or 0.0)
            self.best = max(self.best, self._rate)

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
