"""How fast the links of nodes are, measured while nothing is fetched: who is slow is then known before a first pull.

The nodes of a rack stand in a ring, and each has the one after it send for a moment, all at the same time: every link
carries one flow each way. Then the one after that, and the one after that again. A flow is as fast as the slower of its
two ends; so the best of a node's three flows says how fast it sends, or receives, unless all three others are slow.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from modeldist.artifact import Digest
from modeldist.scheduler import messages as m
from modeldist.scheduler.phase1.config import Phase1Config
from modeldist.scheduler.phase1.line import Shown, Slow
from modeldist.scheduler.phase1.nodes import Link, Node
from modeldist.scheduler.phase1.slowness import slow_by_rate
from modeldist.scheduler.phase1.swarm import Swarm

_ROUNDS = 3
_LEAST = _ROUNDS + 1  # nodes of a rack, so that each has that many others
_MOST = 64  # nodes at once: what they send goes over links that they share
_LOOKING_SECONDS = 1.0
_SETTLED_SECONDS = 0.5  # since the last joined: nodes that start together are measured together
_COMING_SECONDS = 5.0  # nobody waits longer for those who go on joining
_ROUND_SECONDS = 4.0  # for all to answer


@dataclass(slots=True)
class _Campaign:
    """Rings of nodes, which are asked round after round. `open`: parent and child by the number of the question."""

    rings: list[list[str]]
    rounds: int = 0
    until: float = 0.0
    open: dict[int, tuple[str, str]] = field(default_factory=dict)
    sends: dict[str, float] = field(default_factory=dict)
    receives: dict[str, float] = field(default_factory=dict)


class Links:
    """Looks on `tick` whether somebody is due. One campaign at a time; it is given up when somebody fetches."""

    def __init__(self, config: Phase1Config, nodes: dict[str, Node], swarms: dict[Digest, Swarm]) -> None:
        self._interval = config.measure_interval
        self._nodes = nodes
        self._swarms = swarms
        self._look_at = float("inf")
        self._campaign: _Campaign | None = None
        self._asked = 0

    def joined(self, now: float) -> None:
        """Somebody has."""
        self._look_at = min(self._look_at, now + _SETTLED_SECONDS)

    def tick(self, now: float) -> m.Told:
        campaign = self._campaign
        if campaign is None:
            if not self._interval or now < self._look_at:
                return []
            campaign = self._campaign = self._begun(now)
        elif campaign.open and now < campaign.until:
            return []
        if campaign is None:
            return []
        if self._busy():
            self._end(now)
            return []
        if campaign.rounds == _ROUNDS:
            for ring in campaign.rings:
                self._conclude(campaign, ring, now)
            self._end(now)
            return []
        return self._ask(campaign, now)

    def answered(self, node: str, event: m.Measured) -> None:
        """Who is asked by one number and answers another is not believed."""
        campaign = self._campaign
        if campaign is None or event.number not in campaign.open or campaign.open[event.number][1] != node:
            return
        parent, child = campaign.open.pop(event.number)
        if event.rate is not None:
            campaign.sends[parent] = max(event.rate, campaign.sends.get(parent, 0.0))
            campaign.receives[child] = max(event.rate, campaign.receives.get(child, 0.0))

    def _begun(self, now: float) -> _Campaign | None:
        """With those who are due, or with nobody, and then it is known when to look again."""
        rings, next_due, count = [], float("inf"), 0
        for nodes in self._racks().values():
            due = [node for node in nodes if self._due_at(node) <= now]
            next_due = min([next_due, *(self._due_at(node) for node in nodes if node not in due)])
            if not due:
                continue
            if _still_coming(due, now) or count >= _MOST:
                next_due = now
                continue
            due = due[: max(_LEAST, _MOST - count)]
            others = sorted((node for node in nodes if node not in due), key=lambda node: node.slow(now) is not None)
            ring = [*due, *others[: max(0, _LEAST - len(due))]]
            rings.append([node.name for node in ring])
            count += len(ring)
        busy = bool(rings) and self._busy()
        self._look_at = now + _LOOKING_SECONDS if busy else max(next_due, now + _LOOKING_SECONDS)
        return _Campaign(rings) if rings and not busy else None

    def _racks(self) -> dict[m.Location, list[Node]]:
        """Those that can be measured, where there are enough to say who of two is the slow one."""
        racks: dict[m.Location, list[Node]] = {}
        for node in self._nodes.values():
            if node.measures and not node.absent:
                racks.setdefault(node.location, []).append(node)
        return {rack: nodes for rack, nodes in racks.items() if len(nodes) >= _LEAST}

    def _due_at(self, node: Node) -> float:
        return float("-inf") if node.link is None else node.link.when + self._interval

    def _busy(self) -> bool:
        return any(swarm.wanted or next(iter(swarm.wanting()), None) for swarm in self._swarms.values())

    def _ask(self, campaign: _Campaign, now: float) -> m.Told:
        campaign.rounds += 1
        campaign.until = now + _ROUND_SECONDS
        campaign.open.clear()
        told: m.Told = []
        for ring in campaign.rings:
            for place, child in enumerate(ring):
                parent = ring[(place + campaign.rounds) % len(ring)]
                if self._there(child) and self._there(parent):
                    self._asked += 1
                    campaign.open[self._asked] = (parent, child)
                    told.append((child, m.Measure(self._asked, parent, self._nodes[parent].address)))
        return told

    def _there(self, name: str) -> bool:
        return (node := self._nodes.get(name)) is not None and not node.absent

    def _conclude(self, campaign: _Campaign, ring: list[str], now: float) -> None:
        sends = {name: campaign.sends.get(name) for name in ring}
        receives = {name: campaign.receives.get(name) for name in ring}
        slow = {name: Shown(Slow.SENDING, share) for name, share in slow_by_rate(sends).items()}
        slow |= {name: Shown(Slow.RECEIVING, share) for name, share in slow_by_rate(receives).items()}
        for name in ring:
            if (node := self._nodes.get(name)) is not None:
                node.link = Link(sends[name], receives[name], slow.get(name), now)

    def _end(self, now: float) -> None:
        self._campaign = None
        self._look_at = min(self._look_at, now + _LOOKING_SECONDS)


def _still_coming(due: list[Node], now: float) -> bool:
    joined = [node.joined for node in due]
    return now - max(joined) < _SETTLED_SECONDS and now - min(joined) < _COMING_SECONDS
