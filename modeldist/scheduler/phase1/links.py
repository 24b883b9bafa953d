"""How fast the links of nodes are, measured while nothing is fetched: who is slow is then known before a first pull.

When, and whom; how is in `campaign.py`. Nothing goes from rack to rack: an uplink that many share would make all look
slow. See docs/adr/0049-measured-links.md.
"""

from __future__ import annotations

import random
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from modeldist.artifact import Digest
from modeldist.scheduler import messages as m
from modeldist.scheduler.phase1.campaign import LEAST, Campaign, Found, Ring
from modeldist.scheduler.phase1.config import Phase1Config
from modeldist.scheduler.phase1.nodes import Direction, Link, Node
from modeldist.scheduler.phase1.swarm import Swarm

_MOST = 64  # nodes at once: what they send goes over links that they share
_LOOKING_SECONDS = 1.0  # between two looks whether somebody fetches
_SETTLED_SECONDS = 0.5  # since the last joined: nodes that start together are measured together
_COMING_SECONDS = 5.0  # nobody waits longer for those who go on joining
_AGAIN_SECONDS = 60.0  # after a campaign in which nobody could say anything of a node, or it left; doubles each time
_REMEMBERED = 50_000  # nodes, also such as left: who comes and goes is not measured each time


@dataclass(slots=True)
class _Known:
    """Of a node at a `place`, its rack and its host: when it is due again, how long it would wait for that if nothing
    could be said of it, and what was measured last."""

    place: tuple[m.Location, str]
    due: float = float("-inf")
    again: float = _AGAIN_SECONDS
    link: Link = Link()


class Links:
    """Looks on `tick` whether somebody is due. One campaign at a time; it is given up when somebody fetches. `waiting`:
    it is not known yet who does."""

    def __init__(
        self,
        config: Phase1Config,
        nodes: dict[str, Node],
        swarms: dict[Digest, Swarm],
        rng: random.Random,
        waiting: Callable[[float], bool],
    ) -> None:
        self._interval = config.measure_interval
        self._nodes = nodes
        self._swarms = swarms
        self._rng = rng
        self._waiting = waiting
        self._look_at = float("inf")
        self._rings: deque[Ring] = deque()  # whose turn comes
        self._campaign: Campaign | None = None
        self._numbers = count(1)
        self._known: OrderedDict[str, _Known] = OrderedDict()

    def joined(self, node: Node, now: float) -> None:
        """Somebody has; of who comes back from elsewhere nothing is known."""
        known = self._known.get(node.name)
        if known is not None and known.place != _place(node):
            del self._known[node.name]
        elif known is not None:
            node.link = known.link
        self._look_at = min(self._look_at, now + _SETTLED_SECONDS)

    def fetching(self) -> None:
        """Somebody begins to."""
        if self._campaign is not None:
            self._campaign.disturbed = True

    def answered(self, node: str, event: m.Measured) -> None:
        if self._campaign is not None:
            self._campaign.answered(node, event)

    def tick(self, now: float) -> m.Told:
        campaign = self._campaign
        if campaign is None:
            if not self._interval or now < self._look_at:
                return []
            campaign = self._campaign = self._begun(now)
        elif campaign.disturbed or self._busy(now):
            self._give_up(campaign, now)
            return []
        elif campaign.goes_on(now):
            return []
        if campaign is None:
            return []
        if campaign.over:
            for ring in campaign.rings:
                self._conclude(ring, now)
            self._campaign = None
            self._look_at = now if self._rings else min(self._look_at, now + self._soon)
            return []
        return campaign.ask(self._numbers, lambda node: self._nodes[node].address, now)

    # --- whose turn it is ------------------------------------------------------------------------------------------

    @property
    def _soon(self) -> float:
        return min(_AGAIN_SECONDS, self._interval)

    def _busy(self, now: float) -> bool:
        return self._waiting(now) or any(
            swarm.wanted or any(swarm.members[node].wants for node in swarm.sparse) for swarm in self._swarms.values()
        )

    def _due_at(self, node: str) -> float:
        return known.due if (known := self._known.get(node)) is not None else float("-inf")

    def _begun(self, now: float) -> Campaign | None:
        """With the next rings, as many as may be at once."""
        if self._busy(now):
            self._rings.clear()
            self._look_at = now + _LOOKING_SECONDS
            return None
        if not self._rings:
            self._plan(now)
        rings: list[Ring] = []
        size = 0
        while self._rings and size + len(self._rings[0].nodes) <= _MOST:
            ring = self._rings.popleft()
            ring.nodes = [node for node in ring.nodes if self._there(node, ring.place)]
            if len(ring.nodes) >= LEAST:
                rings.append(ring)
                size += len(ring.nodes)
        for node in (node for ring in rings for node in ring.nodes if node in ring.due):
            known = self._of(node)
            known.due = now + known.again
            known.again = min(2 * known.again, max(self._interval, self._soon))
            self._known.move_to_end(node)
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return Campaign(rings, self._there) if rings else None

    def _of(self, node: str) -> _Known:
        return self._known.setdefault(node, _Known(_place(self._nodes[node]), again=self._soon))

    def _plan(self, now: float) -> None:
        """Rings of all who are due, those who have waited longest first; and when to look again."""
        self._look_at = now + self._soon
        racks: dict[m.Location, list[Node]] = {}
        for node in self._nodes.values():
            if self._there(node.name, node.location):
                racks.setdefault(node.location, []).append(node)
        rings: list[Ring] = []
        for place, nodes in racks.items():
            due = [node for node in nodes if self._due_at(node.name) <= now]
            if len(nodes) < LEAST or not due:
                continue
            if _still_coming(due, now):
                self._look_at = min(self._look_at, now + _SETTLED_SECONDS)
                continue
            due.sort(key=lambda node: self._due_at(node.name))
            rings += [self._ring(place, part, nodes, now) for part in _parts(due)]
        rings.sort(key=lambda ring: min(map(self._due_at, ring.due)))
        self._rings.extend(rings)

    def _ring(self, place: m.Location, due: list[Node], nodes: list[Node], now: float) -> Ring:
        """Where few are due, with those that are due next, but for slow ones. Who is due soon is measured along."""
        chosen = {node.name for node in due}
        soon = now + self._interval / 2
        lacking = LEAST - len(due)
        others = [node for node in nodes if node.name not in chosen] if lacking > 0 else []
        self._rng.shuffle(others)
        others.sort(key=lambda node: (node.slow(now) is not None, max(self._due_at(node.name), soon)))
        taken = [node.name for node in others[: max(0, lacking)]]
        along = {node for node in taken if self._due_at(node) <= soon}
        return Ring(place, [*(node.name for node in due), *taken], frozenset(chosen | along))

    def _there(self, name: str, place: m.Location) -> bool:
        node = self._nodes.get(name)
        return node is not None and node.measures and not node.absent and node.location == place

    # --- how a campaign ends ---------------------------------------------------------------------------------------

    def _give_up(self, campaign: Campaign, now: float) -> None:
        """All of them are due, as they were."""
        for ring in campaign.rings:
            for node in ring.due:
                if (known := self._known.get(node)) is not None:
                    known.due, known.again = now, self._soon
        self._rings.clear()
        self._campaign = None
        self._look_at = now + _LOOKING_SECONDS

    def _conclude(self, ring: Ring, now: float) -> None:
        """Of what nobody could say the last that was said stays true."""
        sends, receives = ring.found()
        for name in ring.due & (sends.keys() | receives.keys()):
            node, known = self._nodes.get(name), self._known.get(name)
            if node is None or known is None or known.place != _place(node):
                continue
            before = known.link
            known.due, known.again = now + self._interval, self._soon
            known.link = node.link = Link(
                _direction(sends.get(name), now) or before.sends, _direction(receives.get(name), now) or before.receives
            )


def _place(node: Node) -> tuple[m.Location, str]:
    return node.location, node.address.rpartition(":")[0]


def _direction(found: Found | None, now: float) -> Direction | None:
    return Direction(found.rate, found.share, now) if found is not None else None


def _still_coming(due: list[Node], now: float) -> bool:
    joined = [node.joined for node in due]
    return now - max(joined) < _SETTLED_SECONDS and now - min(joined) < _COMING_SECONDS


def _parts(due: list[Node]) -> list[list[Node]]:
    """As many as may be at once, and none too small: where all are due, there are no others to compare with."""
    parts = [due[start : start + _MOST] for start in range(0, len(due), _MOST)]
    if len(parts) > 1 and len(parts[-1]) < LEAST:
        both = [*parts[-2], *parts[-1]]
        parts[-2:] = [both[: len(both) // 2], both[len(both) // 2 :]]
    return parts
