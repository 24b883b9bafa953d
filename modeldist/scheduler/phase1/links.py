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
from modeldist.scheduler.phase1.campaign import LEAST, Campaign, Ring
from modeldist.scheduler.phase1.config import Phase1Config
from modeldist.scheduler.phase1.line import Shown, Slow
from modeldist.scheduler.phase1.nodes import Link, Node
from modeldist.scheduler.phase1.slowness import slow_by_rate
from modeldist.scheduler.phase1.swarm import Swarm

_MOST = 64  # nodes at once: what they send goes over links that they share
_LOOKING_SECONDS = 1.0  # between two looks whether somebody fetches
_SETTLED_SECONDS = 0.5  # since the last joined: nodes that start together are measured together
_COMING_SECONDS = 5.0  # nobody waits longer for those who go on joining
_AGAIN_SECONDS = 60.0  # after a campaign in which nobody could say anything of a node, or it left
_REMEMBERED = 50_000  # nodes, also such as left: who comes and goes is not measured each time


@dataclass(slots=True)
class _Known:
    """Of a node: when it is due again, and what was measured last."""

    due: float = float("-inf")
    link: Link | None = None


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
        """Somebody has."""
        if (known := self._known.get(node.name)) is not None:
            node.link = known.link
        self._look_at = min(self._look_at, now + _SETTLED_SECONDS)

    def answered(self, node: str, event: m.Measured) -> None:
        if self._campaign is not None:
            self._campaign.answered(node, event)

    def tick(self, now: float) -> m.Told:
        if self._campaign is None:
            if not self._interval or now < self._look_at:
                return []
            if self._busy(now):
                self._look_at = now + _LOOKING_SECONDS
                return []
            if not self._rings:
                self._plan(now)
            self._campaign = self._begun(now)
        elif self._campaign.goes_on(now):
            return []
        elif self._busy(now):
            self._give_up(self._campaign, now)
        elif self._campaign.over:
            for ring in self._campaign.rings:
                self._conclude(ring, now)
            self._ended(now)
        if self._campaign is None:
            return []
        return self._campaign.ask(self._numbers, lambda node: self._nodes[node].address, now)

    # --- whose turn it is ------------------------------------------------------------------------------------------

    def _busy(self, now: float) -> bool:
        return self._waiting(now) or any(
            swarm.wanted or any(swarm.members[node].wants for node in swarm.sparse) for swarm in self._swarms.values()
        )

    def _due_at(self, node: str) -> float:
        return known.due if (known := self._known.get(node)) is not None else float("-inf")

    def _plan(self, now: float) -> None:
        """Rings of all who are due, those who have waited longest first; and when to look again."""
        self._look_at = now + _AGAIN_SECONDS
        racks: dict[m.Location, list[Node]] = {}
        for node in self._nodes.values():
            if self._there(node.name):
                racks.setdefault(node.location, []).append(node)
        rings: list[Ring] = []
        for nodes in racks.values():
            due = [node for node in nodes if self._due_at(node.name) <= now]
            if len(nodes) < LEAST or not due:
                continue
            if _still_coming(due, now):
                self._look_at = now + _SETTLED_SECONDS
                continue
            due.sort(key=lambda node: self._due_at(node.name))
            parts = [due[start : start + _MOST] for start in range(0, len(due), _MOST)]
            if len(due) > _MOST and len(parts[-1]) < LEAST:  # no others to be compared with, where all are due
                parts[-2:] = [(both := [*parts[-2], *parts[-1]])[: _MOST // 2], both[_MOST // 2 :]]
            rings += [self._ring(part, nodes, now) for part in parts]
        rings.sort(key=lambda ring: min(map(self._due_at, ring.due)))
        self._rings.extend(rings)

    def _ring(self, due: list[Node], nodes: list[Node], now: float) -> Ring:
        """With some to compare with, where few are due: any, but for slow ones."""
        chosen = frozenset(node.name for node in due)
        lacking = LEAST - len(due)
        others = [node for node in nodes if node.name not in chosen] if lacking > 0 else []
        self._rng.shuffle(others)
        others.sort(key=lambda node: node.slow(now) is not None)
        return Ring([*(node.name for node in due), *(node.name for node in others[: max(0, lacking)])], chosen)

    def _begun(self, now: float) -> Campaign | None:
        """With the next rings, as many as may be at once."""
        rings: list[Ring] = []
        size = 0
        while self._rings and size + len(self._rings[0].nodes) <= _MOST:
            ring = self._rings.popleft()
            ring.nodes = [node for node in ring.nodes if self._there(node)]
            if len(ring.nodes) >= LEAST:
                rings.append(ring)
                size += len(ring.nodes)
        for ring in rings:
            for node in ring.due:
                self._known.setdefault(node, _Known()).due = now + min(_AGAIN_SECONDS, self._interval)
                self._known.move_to_end(node)
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return Campaign(rings, self._there) if rings else None

    def _there(self, name: str) -> bool:
        return (node := self._nodes.get(name)) is not None and node.measures and not node.absent

    # --- how a campaign ends ---------------------------------------------------------------------------------------

    def _give_up(self, campaign: Campaign, now: float) -> None:
        for ring in campaign.rings:
            for node in ring.due:
                self._known.setdefault(node, _Known()).due = now
        self._ended(now)
        self._look_at = now + _LOOKING_SECONDS

    def _ended(self, now: float) -> None:
        self._campaign = None
        self._look_at = now if self._rings else min(self._look_at, now + _AGAIN_SECONDS)

    def _conclude(self, ring: Ring, now: float) -> None:
        """Of what nobody could say the last that was said stays true."""
        sends, receives = ring.rates()
        measured = sends.keys() | receives.keys()
        for name in ring.nodes:
            link = known.link if (known := self._known.get(name)) is not None else None
            if link is not None and link.sends is not None:
                sends.setdefault(name, link.sends)
            if link is not None and link.receives is not None:
                receives.setdefault(name, link.receives)
        slow = {name: Shown(Slow.SENDING, share) for name, share in slow_by_rate(sends).items()}
        slow |= {name: Shown(Slow.RECEIVING, share) for name, share in slow_by_rate(receives).items()}
        for name in ring.due & measured:
            known = self._known.setdefault(name, _Known())
            known.due = now + self._interval
            known.link = Link(sends.get(name), receives.get(name), slow.get(name), now)
            if (node := self._nodes.get(name)) is not None:
                node.link = known.link


def _still_coming(due: list[Node], now: float) -> bool:
    joined = [node.joined for node in due]
    return now - max(joined) < _SETTLED_SECONDS and now - min(joined) < _COMING_SECONDS
