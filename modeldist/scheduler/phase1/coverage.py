"""Swarms with sparse members: whether everybody can get what it lacks from some parent of its.

Where all members come to hold everything, any sixteen of them will do. A sparse member stays without what it does not
need, so a piece may be held by nodes that are in no list of those who lack it.
"""

from __future__ import annotations

from collections.abc import Iterator

from modeldist.artifact import Digest
from modeldist.scheduler.phase1.candidates import Candidates
from modeldist.scheduler.phase1.swarm import Member, Swarm

_EVERY = 0.5  # seconds between two looks at a swarm; what a parent still needs has the time of one to get there
_AT_ONCE = 64  # children given another parent in one look, each of which is a search among all members


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
        """Yields (task, node) of those with another list than before."""
        for task in list(self._watched):
            swarm = self._swarms.get(task)
            if swarm is None or not swarm.sparse:
                del self._watched[task]
            elif now >= swarm.covered + _EVERY:
                swarm.covered = now
                for node in self._covered(swarm, now):
                    yield task, node

    def _covered(self, swarm: Swarm, now: float) -> Iterator[str]:
        left = _AT_ONCE
        for node, member in swarm.members.items():
            if not member.wants or not left:
                continue
            missing = self._missing(swarm, member)
            if missing and self._candidates.give(swarm, member, missing, now):
                left -= 1
                yield node

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
