"""The same scenario in the laboratory and in the simulator, which runs the same scheduler without bytes or CPU."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from modeldist.simulator import simulate
from tests.netlab.figures import Run
from tests.netlab.limits import simulated
from tests.netlab.scenario import LabScenario

SCENARIOS = ("cold-8", "cold-16")
WITHIN = 0.05
"""The most that R may differ."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Medians of R."""

    scenario: str
    laboratory: float
    simulator: float

    @property
    def difference(self) -> float:
        """Of the laboratory from the simulator; 0.05 is 5 % more."""
        return self.laboratory / self.simulator - 1

    @property
    def good(self) -> bool:
        return abs(self.difference) <= WITHIN

    def as_dict(self) -> dict[str, object]:
        return {
            "scenario": self.scenario,
            "laboratory": round(self.laboratory, 4),
            "simulator": round(self.simulator, 4),
            "difference": round(self.difference, 4),
        }

    def __str__(self) -> str:
        return (
            f"  {self.scenario}: R {self.laboratory:.3f} in the laboratory, {self.simulator:.3f} in the simulator "
            f"({self.difference:+.1%}; {'within' if self.good else 'NOT within'} {WITHIN:.0%})"
        )


def compare(scenario: LabScenario, runs: Sequence[Run], *, seeds: int = 3) -> Comparison:
    """Each run beside the simulator with that run's goodput."""
    found = [
        simulate(replace(simulated(scenario, _rates(run.goodput)), seed=seed)).r
        for run in runs
        for seed in range(1, seeds + 1)
    ]
    return Comparison(scenario.name, statistics.median(run.r for run in runs), statistics.median(found))


def _rates(goodput: Mapping[str, float]) -> dict[float, float]:
    return {float(rate): found for rate, found in goodput.items()}
