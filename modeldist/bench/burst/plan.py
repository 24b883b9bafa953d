"""What a burst consists of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BurstPlan:
    """`pulls` at once, each on a node of its own, of `models` different ones; every second is a prefetch, the others
    serve. `ceiling`: how many may run at once. `resolving`: how many references may be resolved at once. `seconds` that
    a node takes for a model once it is let in. `tokens`: as many ask."""

    pulls: int = 2000
    models: int = 300
    ceiling: int = 500
    resolving: int = 64
    seconds: float = 1.0
    tokens: int = 4
    patience: float = 300.0  # seconds; of clients and nodes
    seed: int = 1
