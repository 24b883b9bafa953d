"""Repeated runs of several contenders, in turns, so that a slow minute of the machine hits all of them."""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Run:
    """Wall and CPU seconds (user + system of all processes taking part), peak resident bytes of the largest."""

    seconds: float
    cpu: float
    peak: int = 0


@dataclass(frozen=True)
class Sample:
    """What one contender did. `spread` is (slowest - fastest) / median."""

    runs: tuple[Run, ...]

    @property
    def seconds(self) -> float:
        return statistics.median(run.seconds for run in self.runs)

    @property
    def cpu(self) -> float:
        return statistics.median(run.cpu for run in self.runs)

    @property
    def peak(self) -> int:
        return max(run.peak for run in self.runs)

    @property
    def spread(self) -> float:
        found = [run.seconds for run in self.runs]
        return (max(found) - min(found)) / self.seconds


def in_turns(contenders: Mapping[str, Callable[[], Run]], repeat: int) -> dict[str, Sample]:
    """`repeat` rounds over all contenders, after everything dirty went to disk each time."""
    runs: dict[str, list[Run]] = {name: [] for name in contenders}
    for _ in range(repeat):
        for name, run in contenders.items():
            os.sync()
            runs[name].append(run())
            print(f"  {name}: {runs[name][-1].seconds:.2f} s", file=sys.stderr, flush=True)
    return {name: Sample(tuple(found)) for name, found in runs.items()}
