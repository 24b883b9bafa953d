"""How often something took how long."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate

from prometheus_client.core import HistogramMetricFamily

from modeldist.metrics.metric import Metric


class Histogram:
    """Of one metric, by the values of its labels. `bounds`: upper ends of its buckets, rising. `known`: values that are
    there from the start, since the first of a kind is an increase, too. One thread."""

    def __init__(self, metric: Metric, bounds: tuple[float, ...], known: Iterable[tuple[str, ...]] = ()) -> None:
        self.metric = metric
        self._bounds = bounds
        self._counts: dict[tuple[str, ...], list[int]] = {}
        self._sums: dict[tuple[str, ...], float] = {}
        for labels in known if metric.labels else [()]:
            self._counts[labels], self._sums[labels] = [0] * (len(bounds) + 1), 0.0

    def note(self, value: float, *labels: str) -> None:
        counts = self._counts.setdefault(labels, [0] * (len(self._bounds) + 1))
        counts[bisect_left(self._bounds, value)] += 1
        self._sums[labels] = self._sums.get(labels, 0.0) + value

    def family(self) -> HistogramMetricFamily:
        family = HistogramMetricFamily(self.metric.name, self.metric.says, labels=self.metric.labels)
        ends = [*map(str, self._bounds), "+Inf"]
        for labels, counts in self._counts.items():
            family.add_metric(labels, list(zip(ends, accumulate(counts), strict=True)), self._sums[labels])
        return family
