"""One campaign of measuring links: rings of nodes, three or four rounds, and what comes of the answers.

In a round each node of a ring has another send for a moment, all at the same time, so that every link carries one flow
each way: the next in the first round, then the one after that. A flow is as fast as the slower of its two ends, so the
best of a node's flows says how fast it sends, or receives. From the third round on those of whom that is little stand
between such as were fast both ways: a node is not slow because others are. Where all were fast, the third is as those
before, and there is no fourth.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from modeldist.scheduler import messages as m
from modeldist.scheduler.phase1.slowness import slow_by_rate

_ROUNDS = 4
_ANY_ROUNDS = 2  # whoever was slow in the first
LEAST = 4  # nodes of a ring, so that each has three others
_ROUND_SECONDS = 4.0  # for all to answer
_MOST = 1.5
"""Times what is usual in a ring that a flow counts for at most. Two nodes on one machine would make all others look
slow, and so would one that lies; with this the median is not moved as far as `slow_by_rate` asks for."""
_USUAL = 2
"""With which of the others, from the one with the fastest flow on, a node says what is usual. One may be on the same
machine, or lie; and where few are slow, each of the others had flows with two that are not."""
_DOUBTFUL = 0.75  # of the median, more than what is slow: to be wrong here costs nothing


class Found(NamedTuple):
    """How fast a link is in one direction, in bytes/s, and its share of what is usual, where that is little."""

    rate: float
    share: float | None


@dataclass(slots=True)
class Ring:
    """Of `nodes`, all at `place`, those that are `due` are measured; the others are there to be compared with."""

    place: m.Location
    nodes: list[str]
    due: frozenset[str]
    flows: list[tuple[str, str, float]] = field(default_factory=list)  # bytes/s from parent to child

    def found(self) -> tuple[dict[str, Found], dict[str, Found]]:
        """How each sends and receives, as far as anybody could say."""
        most = _MOST * self._usual()
        sends, receives = self._best()
        return _compared(sends, most), _compared(receives, most)

    def doubtful_between_others(self, nodes: list[str]) -> list[str] | None:
        """`nodes`, in an order in which who was not fast both ways yet has such as were before and after it; if those
        are too few, then who was fast one way comes first. None where all were."""
        sends, receives = self._best()
        usual = statistics.median([*sends.values(), *receives.values()] or [0.0])
        fast = [node for node in nodes if min(sends.get(node, 0.0), receives.get(node, 0.0)) >= _DOUBTFUL * usual]
        doubtful = [node for node in nodes if node not in fast]
        doubtful.sort(key=lambda node: -max(sends.get(node, 0.0), receives.get(node, 0.0)))
        pairs = [node for pair in zip(fast, doubtful, strict=False) for node in pair]
        return [*pairs, *fast[len(doubtful) :], *doubtful[len(fast) :]] if doubtful else None

    def _best(self) -> tuple[dict[str, float], dict[str, float]]:
        sends: dict[str, float] = {}
        receives: dict[str, float] = {}
        for parent, child, flow in self.flows:
            sends[parent] = max(flow, sends.get(parent, 0.0))
            receives[child] = max(flow, receives.get(child, 0.0))
        return sends, receives

    def _usual(self) -> float:
        fastest: dict[str, dict[str, float]] = {}  # of each node, with each other
        for parent, child, flow in self.flows:
            for node, other in ((parent, child), (child, parent)):
                with_others = fastest.setdefault(node, {})
                with_others[other] = max(flow, with_others.get(other, 0.0))
        usual = [sorted(flows.values(), reverse=True)[:_USUAL][-1] for flows in fastest.values()]
        return statistics.median(usual) if usual else 0.0


def _compared(rates: dict[str, float], most: float) -> dict[str, Found]:
    slow = slow_by_rate({node: min(rate, most) for node, rate in rates.items()})
    return {node: Found(rate, slow.get(node)) for node, rate in rates.items()}


class Campaign:
    """`there`: whether a node can be asked at a place, and others there be told to ask it. Who did not answer once is
    asked no more. `disturbed`: somebody began to fetch meanwhile."""

    def __init__(self, rings: Sequence[Ring], there: Callable[[str, m.Location], bool]) -> None:
        self.rings = rings
        self.disturbed = False
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
        return self._rounds == _ROUNDS

    def ask(self, numbers: Iterator[int], address: Callable[[str], str], now: float) -> m.Told:
        """The next round."""
        self._silent.update(child for _, _, child in self._open.values())
        self._open.clear()
        self._rounds += 1
        self._until = now + _ROUND_SECONDS
        told: m.Told = []
        for ring in self.rings:
            nodes = [node for node in ring.nodes if node not in self._silent and self._there(node, ring.place)]
            if self.over:
                nodes.reverse()  # of those alike others come first
            order = ring.doubtful_between_others(nodes) if self._rounds > _ANY_ROUNDS else None
            steps = 1 if order else self._rounds
            if len(nodes) <= steps or (self.over and order is None):
                continue
            nodes = order or nodes
            for place, child in enumerate(nodes):
                parent = nodes[(place + steps) % len(nodes)]
                number = next(numbers)
                self._open[number] = (ring, parent, child)
                told.append((child, m.Measure(number, parent, address(parent))))
        return told

    def answered(self, node: str, event: m.Measured) -> None:
        """Who is asked by one number and answers another is not believed."""
        if event.number not in self._open or self._open[event.number][2] != node:
            return
        ring, parent, child = self._open.pop(event.number)
        if event.rate is not None:
            ring.flows.append((parent, child, event.rate))
