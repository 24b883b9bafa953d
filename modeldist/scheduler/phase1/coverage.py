"""Swarms with sparse members: whether everybody can get what it lacks from some parent of its.

Where all members come to hold everything, any sixteen of them will do. A sparse member stays without what it does not
need, so a piece may be held by nodes that are in no list of those who lack it.
"""

from __future__ import annotations

from collections.abc import Iterator

from modeldist.artifact import Digest
from modeldist.scheduler.phase1.candidates import Candidates
from modeldist.scheduler.phase1.swarm import Member, Swarm

_EVERY = 0.5  # seconds from one round of a swarm's members to the next; what a parent still needs has a round to come
_LOOKED_AT = 600  # members in one tick, all swarms together
_SEARCHES = 8  # among all members for a holder, in one tick


class Coverage:
    """Changes the lists of those that lack something."""

    def __init__(self, swarms: dict[Digest, Swarm], candidates: Candidates) -> None:
        self._swarms = swarms
        self._candidates = candidates
        self._watched: dict[Digest, None] = {}

    def watch(self, swarm: Swarm) -> None:
        """It has a sparse member."""
        self._watched[swarm.task] = None

    def look(self, now: float) -> Iterator[tuple[Digest, str]]:
        """A tick has passed. Yields (task, node) of those with another list than before."""
        members, searches = _LOOKED_AT, _SEARCHES
        for task in list(self._watched):
            swarm = self._swarms.get(task)
            if swarm is None or not swarm.sparse:
                del self._watched[task]
                continue
            if not swarm.uncovered and now >= swarm.covered + _EVERY:
                swarm.covered = now
                swarm.uncovered = list(reversed(swarm.members))
            while swarm.uncovered and members and searches:
                members -= 1
                member = swarm.members.get(swarm.uncovered.pop())
                if member is None or not member.wants or not (missing := self._missing(swarm, member)):
                    continue
                searches -= 1
                if self._candidates.give(swarm, member, missing, now):
                    yield task, member.node

    @staticmethod
    def _missing(swarm: Swarm, member: Member) -> int:
        """What no parent will ever have, and what none had for a while."""
        here = later = 0
        for node in member.parents:
            if (parent := swarm.members.get(node)) is not None:
                here |= parent.have
                later |= parent.needs
        stranded = member.lacks & swarm.held & ~swarm.leased & ~here
        overdue, member.stranded = stranded & member.stranded, stranded
        return overdue | stranded & ~later
