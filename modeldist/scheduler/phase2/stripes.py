"""A striped task: each stripe comes from its own parent, and from anyone when that one has failed or is late."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from modeldist.scheduler.messages import Parent
from modeldist.scheduler.phase2.pace import Pace
from modeldist.scheduler.phase2.parent import ParentLink
from modeldist.scheduler.pieces import stripe, stripe_of

_BACKLOG = 6  # pieces that a stripe's parent holds and this node lacks; with more it is late
_PATIENCE_PIECES = 4  # times the time between two pieces of a stripe
_LEAST_PATIENCE = 0.25  # seconds
_DROUGHT = 10.0  # seconds without a piece of a stripe although its parent has none either: maybe nobody has


class Stripes:
    """`count` stripes of a task of `total` pieces (1: a line). `loose`: pieces that may be fetched from anyone.
    `behind`: the node that this one falls behind in a line, when that is to be told.
    """

    def __init__(self, count: int, total: int, now: float) -> None:
        self.count = count
        self._total = total
        self.masks = [stripe(index, count, total) for index in range(count)]
        self.loose = 0
        self.behind = ""
        self._pace = Pace()
        self._upstream: dict[int, str] = {}
        self._assigned: dict[str, int] = {}
        self._progressed = [now] * count
        self._offered = [now] * count  # since when there is something to have, or the last of it came

    def assign(self, parents: Iterable[Parent], now: float) -> None:
        """Phase 1's word on who brings which stripe. Stripes of nobody are read from the origin, or had from anyone."""
        before = self._upstream
        self._upstream = {
            index: parent.node for parent in parents for index in range(self.count) if parent.stripes >> index & 1
        }
        self._assigned.clear()
        self.loose = 0
        for index, mask in enumerate(self.masks):
            node = self._upstream.get(index)
            if node is None:
                self.loose |= mask
                continue
            self._assigned[node] = self._assigned.get(node, 0) | mask
            if before.get(index) != node:
                self._progressed[index] = self._offered[index] = now
                self._pace = Pace(changed=now if before else None)

    def from_(self, node: str) -> int:
        """The pieces that may be fetched from `node`."""
        return self._assigned.get(node, 0) | self.loose

    def brings(self, node: str) -> bool:
        return node in self._assigned

    def arrived(self, piece: int, now: float) -> None:
        index = stripe_of(piece, self.count, self._total)
        self._progressed[index] = self._offered[index] = now

    def review(
        self, missing: int, holders: Mapping[str, int], links: Mapping[str, ParentLink], piece: float, now: float
    ) -> None:
        """Which stripes are late, if a piece takes `piece` seconds at the rate of all parents together."""
        patience = max(_LEAST_PATIENCE, _PATIENCE_PIECES * self.count * piece)
        self.loose = 0
        self.behind = ""
        for index, mask in enumerate(self.masks):
            node = self._upstream.get(index)
            if node is not None:
                wanted = missing & mask
                offered = wanted & holders.get(node, 0)
                if not offered:
                    self._offered[index] = now
                    late = now - self._progressed[index] > max(_DROUGHT, patience) or _down(links.get(node), now)
                else:
                    idle = now - self._offered[index]
                    late = idle > patience or _down(links.get(node), now)
                    late |= self.count > 1 and offered.bit_count() > _BACKLOG
                if self.count == 1:
                    received, held = self._total - missing.bit_count(), holders.get(node, 0).bit_count()
                    if self._pace.falls_behind(received, held, offered.bit_count(), now):
                        self.behind = node
                if not wanted or not late:
                    continue
            self.loose |= mask


def _down(link: ParentLink | None, now: float) -> bool:
    return link is None or not (link.connected or link.connecting) or link.not_before > now
