"""One node as phase 1 knows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from modeldist.artifact import Digest
from modeldist.scheduler.messages import Location
from modeldist.scheduler.phase1.line import Shown, Slow
from modeldist.scheduler.phase1.load import LoadRecord
from modeldist.scheduler.phase1.service import Service

_REMEMBERED = 600.0  # seconds for which who was slow is thought to be so; to be last by mistake costs it little
_MEASURED_FOR = 3600.0  # seconds for which a link is thought to be as it was measured, where it is not measured again


class Direction(NamedTuple):
    """How fast a link was in one direction when nothing else went on, in bytes/s; its share of what is usual around it,
    where that was little; and when."""

    rate: float
    share: float | None
    when: float


class Link(NamedTuple):
    """What was measured of a node's link, and then."""

    sends: Direction | None = None
    receives: Direction | None = None


@dataclass(slots=True, eq=False)
class Node:
    """`lease_rate`: bytes/s that one of its origin streams brought lately; `lease_bytes`: the size of its last lease.
    `barred_until`: gets no leases before that, because the last ones failed or stood still. `spoken`: seconds for which
    it was heard, from report to report. `absent`: it has no session now. `unconfirmed`: tasks of a session before that
    it did not join again in this one. `shown`: how it was slow in a swarm, if it was, and when. `measures`: it can
    measure links, and `link` is what was measured of its own."""

    name: str
    address: str
    location: Location
    load: LoadRecord
    service: Service
    joined: float
    tasks: dict[Digest, None] = field(default_factory=dict)
    reported: float | None = None
    spoken: float = 0.0
    lease_rate: float | None = None
    lease_bytes: int = 0
    lease_failures: int = 0
    barred_until: float = 0.0
    absent: bool = False
    unconfirmed: dict[Digest, None] = field(default_factory=dict)
    shown: tuple[Shown | None, float] = (None, float("-inf"))
    measures: bool = False
    link: Link = Link()

    def capacity(self, now: float) -> float | None:
        """Bytes/s it can send: its line rate, or more than it was ever seen to serve. None: unknown."""
        load = self.load.at(now)
        return None if load is None else load.nic_speed or None

    def slow(self, now: float) -> Shown | None:
        """How it is, as far as swarms showed lately, or its link when it was measured. A good link does not make up for
        what a swarm showed: the node's disk may be slow."""
        slow, when = self.shown
        if slow is not None and now - when <= _REMEMBERED:
            return slow
        for how, link in ((Slow.RECEIVING, self.link.receives), (Slow.SENDING, self.link.sends)):
            known = link is not None and link.when > when and now - link.when <= _MEASURED_FOR
            if link is not None and link.share is not None and known:
                return Shown(how, link.share)
        return None

    def crowding(self, now: float) -> float:
        """What decides between parents equally near: lower is better."""
        failures = self.service.failures(now)
        return self.service.utilisation(self.capacity(now)) + failures

    def distance_to(self, other: Location) -> int:
        mine = self.location
        if mine.rack and mine.rack == other.rack:
            return 0
        if mine.zone and mine.zone == other.zone:
            return 1
        return 2
