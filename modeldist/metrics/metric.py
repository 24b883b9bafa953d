"""A metric: its name and meaning, fixed before anything is counted, so that pages and dashboards can rely on both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """`name` as Prometheus has it; that of a counter ends in `_total`. Names and labels are not changed once released:
    other meanings get other names."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    says: str
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.kind == "counter") != self.name.endswith("_total"):
            raise ValueError(f"{self.name}: counters, and only those, end in _total")

    def at(self, value: float, *labels: str) -> Sample:
        return Sample(self, labels, value)


@dataclass(frozen=True)
class Sample:
    """One value of a counter or a gauge, with the metric's labels in order."""

    metric: Metric
    labels: tuple[str, ...]
    value: float

    def __post_init__(self) -> None:
        if len(self.labels) != len(self.metric.labels):
            raise ValueError(f"{self.metric.name} has the labels {self.metric.labels}, not {self.labels}")


def every(of: Sequence[Metric]) -> dict[str, Metric]:
    """By name. Raises ValueError where two have one."""
    named = {metric.name: metric for metric in of}
    if len(named) != len(of):
        raise ValueError("two metrics have one name")
    return named
