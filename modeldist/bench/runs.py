"""Repeated runs of several contenders, in turns, so that a slow minute of the machine hits all of them."""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from modeldist.bench.memory import kept_at_hand


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


def in_turns(contenders: Mapping[str, Callable[[], Run]], repeat: int, *, size: int) -> dict[str, Sample]:
    """`repeat` rounds over all contenders, which write `size` bytes each.

    Before each run everything dirty goes to disk, and there is memory at hand that need not be had from a virtual
    machine's host (`modeldist.bench.memory`), which would cost more than much that is measured here.
    """
    runs: dict[str, list[Run]] = {name: [] for name in contenders}
    with kept_at_hand(size) as make_memory:
        for _ in range(repeat):
            for name, run in contenders.items():
                os.sync()
                make_memory()
                runs[name].append(run())
                print(f"  {name}: {runs[name][-1].seconds:.2f} s", file=sys.stderr, flush=True)
    return {name: Sample(tuple(found)) for name, found in runs.items()}
