"""A line: in a swarm of a few equal nodes each takes everything from the one before it, and the first reads the origin.

Every link carries one copy of the shard and no two children share one, so all of them are full from start to end. The
line goes through one rack after the other, and one zone, so that each is entered once. The price: who sends or receives
slowly holds up all behind it. So who is known to be slow comes last, and a line is over as soon as another shows to be.
See docs/adr/0024-lines.md.
"""

from __future__ import annotations

from enum import IntEnum
from itertools import pairwise
from typing import NamedTuple

from modeldist.scheduler.messages import Location

_AS_MUCH = 0.65  # of what it sends while it sends
_LEADING_SECONDS = 0.5  # of reading, to say how fast the first does
_LEADING_TIMES = 2  # so slowly, in a row; a read may stand still for a moment


class Slow(IntEnum):
    """In the order in which they stand at the end of a line: who receives slowly can do with what one brings who sends
    slowly."""

    SENDING = 1
    RECEIVING = 2


class Shown(NamedTuple):
    """How a node was slow in a swarm; `share` of what is usual there."""

    slow: Slow
    share: float


class Line:
    """Same interface as `trees.Trees`, for one stripe: changes are gathered, `plan` says whom they concern."""

    fanout = 1

    def __init__(self) -> None:
        self.changed = False
        self.broken = False  # some node in it is slow
        self.roots: list[str] = []
        self.near: list[str] = []  # all, in order
        self.slow: dict[str, Shown] = {}  # who was known to be slow, and is last
        self._places: dict[str, Location] = {}  # in the order in which they came
        self._leaves: dict[str, None] = {}
        self._lost: dict[str, None] = {}  # without a session; they may be gone
        self._led: tuple[float, int] | None = None  # since when, and from how many pieces on, the first is watched
        self._slowly = 0  # times in a row
        self._above: dict[str, tuple[str, ...]] = {}

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, node: str) -> bool:
        return node in self._places

    def add(self, node: str, location: Location, *, leaf: bool = False, slow: Shown | None = None) -> None:
        """`leaf`: it cannot send, so nobody comes after it. `slow`: as other swarms showed it to be."""
        if node in self._places:
            return
        self._places[node] = location
        if leaf:
            self._leaves[node] = None
        elif slow is not None:
            self.slow[node] = slow
        self.changed = True

    def remove(self, node: str) -> None:
        if self._places.pop(node, None) is None:
            return
        self._leaves.pop(node, None)
        self._lost.pop(node, None)
        self.slow.pop(node, None)
        self._above.pop(node, None)
        self.changed = True

    def make_leaf(self, node: str) -> None:
        """It could not read from the origin: another is to be the first."""
        if node in self._places:
            self._places[node] = self._places.pop(node)
            self.changed = True

    def lose(self, node: str) -> None:
        """Its session broke: it comes behind everybody, the slow ones too, until it joins anew."""
        if node in self._places:
            self._lost[node] = None
            self.make_leaf(node)

    def slow_after(self, node: str) -> list[str]:
        """The slow ones that come after it, if it is one that sends to others at all."""
        if node not in self._places or node in self._leaves:
            return []
        return [other for other in self.slow if other != node and self._place(other) > self._place(node)]

    def upstream(self, node: str) -> tuple[str, ...]:
        """The node before it, as last planned; "": it reads from the origin. Empty: not planned yet."""
        if node in self.roots:
            return ("",)
        return self._above.get(node, ())[:1]

    def roots_at(self, node: str) -> tuple[int, ...]:
        return (0,) if node in self.roots else ()

    def above(self, node: str) -> tuple[str, ...]:
        """From whom it may take: the node before it and, for when that fails, the one before that, which then has
        nobody else to send to. The first from anyone, what others read before they were behind it."""
        return self._above.get(node, ())

    def plan(self) -> list[str]:
        """Work the changes in. Returns the nodes that have others above them now."""
        self.changed = False
        line = self._order()
        self.near = [*line, *self._leaves]
        if self.roots != (roots := line[:1] or list(self._leaves)):
            self.roots, self._led, self._slowly = roots, None, 0
        above: dict[str, tuple[str, ...]] = dict.fromkeys(roots, ())
        if line:
            above[line[0]] = tuple(self.near[1:])
        before = dict(pairwise(reversed(line)))
        for node in self.near:
            if node not in roots:
                last = before.get(node, line[-1])
                above[node] = (last, before[last]) if last in before else (last,)
        concerned = [node for node, asked in above.items() if self._above.get(node) != asked]
        self._above = above
        return concerned

    def _order(self) -> list[str]:
        """Those that can send."""
        zones: dict[str, dict[str, list[str]]] = {}
        for node, place in self._places.items():
            if node not in self._leaves:
                zones.setdefault(place.zone, {}).setdefault(place.rack, []).append(node)
        line = [node for racks in zones.values() for nodes in racks.values() for node in nodes]
        return sorted(line, key=self._place)

    def _place(self, node: str) -> tuple[int, float]:
        """Of slow ones the faster first."""
        if node in self._lost:
            return (len(Slow) + 1, 0.0)
        shown = self.slow.get(node)
        return (shown.slow, -shown.share) if shown is not None else (0, 0.0)

    def behind(self, child: str, before: str, share: float) -> None:
        """`child` gets less than the node `before` it, so far this `share` of the shard. One of the two is slow, and
        nobody knows which, unless it is the child again: then it has about as much as it had in the other swarm."""
        shown = self.slow.get(child)
        known = shown is not None and shown.slow is Slow.RECEIVING and share >= _AS_MUCH * shown.share
        self.broken |= self.upstream(child) == (before,) and not known

    def leads(self, have: int, sends: float | None, now: float) -> None:
        """The first holds `have` pieces now, and sends `sends` pieces/s while it sends. If it reads less, its downlink
        is slow; or the origin is, and then a line is no better than another order, or worse if it is slow on each
        connection."""
        if self._led is None:
            self._led = (now, have)
        since, before = self._led
        if sends and now - since >= _LEADING_SECONDS:
            slowly = have - before < _AS_MUCH * sends * (now - since)
            self._led, self._slowly = (now, have), self._slowly + 1 if slowly else 0
            self.broken |= self._slowly >= _LEADING_TIMES
