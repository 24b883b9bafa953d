"""One campaign of measuring links: rings of nodes, three rounds, and what comes of the answers.

In a round each node of a ring has another send for a moment, all at the same time, so that every link carries one flow
each way: the next in the first round, then the one after that, and the one after that again. A flow is as fast as the
slower of its two ends; so the best of a node's three flows says how fast it sends, or receives.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from modeldist.scheduler import messages as m

ROUNDS = 3
LEAST = ROUNDS + 1  # nodes of a ring, so that each has that many others
_ROUND_SECONDS = 4.0  # for all to answer
_MOST = 1.5
"""Times the median of a ring's flows that one counts for at most. Two nodes on one machine would make all others look
slow, and so would one that lies; with this the median is not moved as far as `slowness` asks for."""


@dataclass(slots=True)
class Ring:
    """Of `nodes`, those that are `due` are measured; the others are there to be compared with."""

    nodes: list[str]
    due: frozenset[str]
    flows: dict[tuple[str, str], float] = field(default_factory=dict)  # bytes/s from parent to child

    def rates(self) -> tuple[dict[str, float], dict[str, float]]:
        """How fast each sends and receives, as far as anybody could say."""
        sends: dict[str, float] = {}
        receives: dict[str, float] = {}
        most = _MOST * statistics.median(self.flows.values()) if self.flows else 0.0
        for (parent, child), flow in self.flows.items():
            rate = min(flow, most)
            sends[parent] = max(rate, sends.get(parent, 0.0))
            receives[child] = max(rate, receives.get(child, 0.0))
        return sends, receives


class Campaign:
    """`there`: whether a node can be asked, and others be told to ask it. Who did not answer once is asked no more."""

    def __init__(self, rings: Sequence[Ring], there: Callable[[str], bool]) -> None:
        self.rings = rings
        self._there = there
        self._rounds = 0
        self._until = 0.0
        self._open: dict[int, tuple[Ring, str, str]] = {}  # by the number of the question
        self._silent: set[str] = set()

    def goes_on(self, now: float) -> bool:
        """Whether somebody is still to answer."""
        return bool(self._open) and now < self._until

    @property
    def over(self) -> bool:
        return self._rounds == ROUNDS

    def ask(self, numbers: Iterable[int], address: Callable[[str], str], now: float) -> m.Told:
        """The next round."""
        self._silent.update(child for _, _, child in self._open.values())
        self._open.clear()
        self._rounds += 1
        self._until = now + _ROUND_SECONDS
        told: m.Told = []
        for ring in self.rings:
            nodes = [node for node in ring.nodes if node not in self._silent and self._there(node)]
            if len(nodes) <= self._rounds:
                continue
            for place, child in enumerate(nodes):
                parent = nodes[(place + self._rounds) % len(nodes)]
                number = next(iter(numbers))
                self._open[number] = (ring, parent, child)
                told.append((child, m.Measure(number, parent, address(parent))))
        return told

    def answered(self, node: str, event: m.Measured) -> None:
        """Who is asked by one number and answers another is not believed."""
        if event.number not in self._open or self._open[event.number][2] != node:
            return
        ring, parent, child = self._open.pop(event.number)
        if event.rate is not None:
            ring.flows[parent, child] = event.rate
