"""Which nodes a swarm showed to be slow. They are remembered for a while, so that the next line has them last.

It is asked once of each swarm, when half of those who began together have it all: by then each has had the same time,
and children have measured everybody. Only of a swarm that exchanges freely. In a line or a tree one who sends slowly
makes its children look slow.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping

from modeldist.scheduler.phase1.line import Shown, Slow
from modeldist.scheduler.phase1.service import Service
from modeldist.scheduler.phase1.swarm import Member, Swarm

TOGETHER_SECONDS = 0.5  # within which all joined who are compared
_LEAST_NODES = 4
_LEAST_SECONDS = 4.0  # some reports of each; pieces that are not reported yet are few beside those that are
_SLOW = 0.6  # of the median
HARDLY_BEGUN = 8  # pieces that those who are compared may have brought along
_ON_ITS_WAY = 1 / 16  # of the shard: what is on its way down a line, or not reported yet


def slow_by_rate(rates: Mapping[str, float | None]) -> dict[str, float]:
    """Whose rate is far below the median of those known, with the share of it that they have."""
    known = {node: rate for node, rate in rates.items() if rate}
    if not known:
        return {}
    usual = statistics.median(known.values())
    return {node: rate / usual for node, rate in known.items() if rate < _SLOW * usual}


def slow_to_send(services: Mapping[str, Service]) -> dict[str, float]:
    """By what their children measure, and never more in all. A good node may serve one child slowly because it has
    many, or send little in all because it gets little."""
    together = slow_by_rate({name: service.best for name, service in services.items()})
    each = slow_by_rate({name: service.goodput for name, service in services.items()})
    return {node: share for node, share in each.items() if node in together}


def shown(swarm: Swarm, services: Mapping[str, Service], now: float) -> dict[str, Shown] | None:
    """Nodes by how they are slow; None: it does not show (yet). `services`: what children say, of the members that are
    not away."""
    began = min(member.joined for member in swarm.members.values())
    compared = [member for member in swarm.members.values() if member.node in services and _compares(member, began)]
    complete = sum(member.complete for member in compared)
    if len(compared) < _LEAST_NODES or 2 * complete < len(compared) or now - began < _LEAST_SECONDS:
        return None
    found = {node: Shown(Slow.SENDING, share) for node, share in slow_to_send(services).items()}
    for member in compared:
        if (share := member.have.bit_count() / swarm.layout.count) < _SLOW:
            found[member.node] = Shown(Slow.RECEIVING, share)
    return found


def _compares(member: Member, began: float) -> bool:
    """All of it came in the same time."""
    together = member.joined - began <= TOGETHER_SECONDS and member.brought <= HARDLY_BEGUN
    return together and not member.sparse and member.reset_at < began


def share(swarm: Swarm, member: Member) -> float:
    """Of what anybody could have by now, how much the member has; at most 1."""
    could = swarm.held.bit_count() - swarm.layout.count * _ON_ITS_WAY
    return min(1.0, member.have.bit_count() / could) if could > 0 else 1.0
