"""The figures of one burst."""

from __future__ import annotations

import msgspec

from modeldist.bench.burst.asking import Asked
from modeldist.control.load.result import Latency


class OfOnePriority(msgspec.Struct, frozen=True):
    """Times in seconds. `overloaded` (503) and `share_used_up` (429): refusals that were asked again."""

    pulls: int
    overloaded: int
    share_used_up: int
    accepted: Latency
    completed: Latency

    @classmethod
    def of(cls, asked: Asked) -> OfOnePriority:
        refused = asked.refused
        return cls(
            len(asked.completed),
            refused["overloaded"],
            refused["share_used_up"],
            Latency.of(asked.accepted),
            Latency.of(asked.completed),
        )


class BurstResult(msgspec.Struct, frozen=True):
    """Times in seconds, memory in resident bytes of the server: `empty`, with all nodes connected, the most it had, and
    when all was over. `sessions_*`: pulls that nodes began themselves. `failed`: what was not a refusal that was asked
    again, by its words."""

    asked: int
    answers: Latency
    by_priority: dict[str, OfOnePriority]
    seconds: float
    nodes: int
    sessions_seconds: float
    sessions_completed: Latency
    sessions_refused: dict[str, int]
    failed: dict[str, int]
    complaints: dict[str, int]
    empty: int
    connected: int
    peak: int
    after: int
    server_cpu: float

    @property
    def shed_in_order(self) -> bool:
        """Prefetches were refused more often than pulls for serving, and waited longer."""
        serving, prefetch = self.by_priority["serving"], self.by_priority["prefetch"]
        return prefetch.overloaded >= serving.overloaded and prefetch.accepted.p50 >= serving.accepted.p50

    @property
    def sound(self) -> bool:
        ended = sum(part.pulls for part in self.by_priority.values())
        return not self.failed and ended == self.asked and self.sessions_completed.count == self.nodes
