"""What agents saw: how long each answer took, and everything that should not have happened."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

Phase = Literal["storm", "measured", "other"]
Kind = Literal["candidates", "joined", "lease"]


@dataclass(slots=True)
class Ledger:
    """Times in seconds. `answers` by phase and kind; `pending`: asks that wait for their answer."""

    phase: Phase = "other"
    answers: defaultdict[tuple[Phase, Kind], list[float]] = field(default_factory=lambda: defaultdict(list))
    joins: list[float] = field(default_factory=list)
    pending: int = 0
    asked: int = 0
    reports: int = 0
    late_reports: int = 0
    messages: int = 0
    wrong: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    lag: defaultdict[Phase, list[float]] = field(default_factory=lambda: defaultdict(list))

    def answered(self, kind: Kind, seconds: float) -> None:
        self.answers[self.phase, kind].append(seconds)

    def all_answers(self, phase: Phase) -> list[float]:
        return [seconds for (when, _), some in self.answers.items() if when == phase for seconds in some]


def percentile(values: Iterable[float], share: float) -> float:
    """The smallest value that `share` (0..1) of them do not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-int(len(ordered) * share * 1000) // 1000) - 1))] if ordered else 0.0
