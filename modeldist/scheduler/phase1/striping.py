"""Which swarms are striped, who has children in their trees, and when the trees are planned."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator

from modeldist.artifact import Digest
from modeldist.scheduler.phase1.config import Phase1Config
from modeldist.scheduler.phase1.nodes import Node
from modeldist.scheduler.phase1.swarm import Member, Swarm
from modeldist.scheduler.phase1.trees import Trees
from modeldist.scheduler.pieces import stripe

_LEAST_PIECES = 64  # fewer are gone before a tree fills
_PAUSE, _PAUSE_EACH = 0.2, 5e-5  # seconds between two plans, and more for each member: it takes 3e-6 or less for each
_AT_ONCE = 600  # members of the swarms planned, and of those judged, in one tick; but one swarm of any size
_JUDGING_SECONDS = 0.5
_SLOW = 0.6  # of the median
_PROVEN = 3  # judgings in a row
_BEHIND_PIECES = 6
_BEHIND_SECONDS = 1.5  # what a parent gets in this time may be unreported by its children


class Striping:
    """Swarms become striped when they are large, and stay so."""

    def __init__(self, config: Phase1Config, swarms: dict[Digest, Swarm], nodes: dict[str, Node]) -> None:
        self._config = config
        self._swarms = swarms
        self._nodes = nodes

    def enter(self, swarm: Swarm, member: Member) -> bool:
        """Whether the swarm that `member` joined is striped."""
        if swarm.trees is None:
            if len(swarm.members) - len(swarm.sparse) < self._config.stripe_from or swarm.layout.count < _LEAST_PIECES:
                return False
            swarm.trees = Trees(self._config.fanout)
            for other in swarm.members.values():
                self._add(swarm.trees, swarm, other)
        self._add(swarm.trees, swarm, member)
        return True

    def _add(self, trees: Trees, swarm: Swarm, member: Member) -> None:
        """But for a sparse member, who would not pass a stripe on."""
        if member.sparse:
            return
        trees.add(member.node, member.location.rack, leaf=member.node not in swarm.serving)

    def plan(self, now: float) -> Iterator[tuple[Swarm, list[str]]]:
        """Judge, and plan where something changed, but so seldom and so little at once that it holds nothing up. Yields
        the members with other upstreams than before."""
        striped = [(swarm, swarm.trees) for swarm in self._swarms.values() if swarm.trees is not None]
        striped.sort(key=lambda each: each[0].judged)
        for swarm, trees in _some(each for each in striped if now >= each[0].judged + _JUDGING_SECONDS):
            swarm.judged = now
            self._judge(swarm, trees, now)
        striped.sort(key=lambda each: each[0].planned)
        for swarm, trees in _some(each for each in striped if _to_plan(*each, now)):
            swarm.planned = now
            yield swarm, trees.plan()

    def _judge(self, swarm: Swarm, trees: Trees, now: float) -> None:
        """Nodes that send slowly get no children any more: slow by their line rate, or by what their children measure
        and never more in all. (A good node may serve one child slowly because it has many, or send little in all
        because it gets little.) So do those that are behind their siblings with the same parent. What is measured has
        to hold for a while: a tree fills from the top, and whoever is served last seems slow at first."""
        nodes = {name: self._nodes[name] for name in swarm.serving}
        slow = _slow({name: node.capacity(now) for name, node in nodes.items()})
        serves_slowly = _slow({name: node.service.goodput for name, node in nodes.items()}) & _slow(
            {name: node.service.best for name, node in nodes.items()}
        )
        suspects = [*_behind(swarm, trees, now), *((name, "") for name in nodes if name in serves_slowly)]
        swarm.suspects = {suspect: swarm.suspects.get(suspect, 0) + 1 for suspect in suspects}
        slow |= {node for (node, _), times in swarm.suspects.items() if times >= _PROVEN}
        for node in (name for name in swarm.members if name in slow):  # in an order that a seed decides
            trees.make_leaf(node)


def _some(swarms: Iterable[tuple[Swarm, Trees]]) -> Iterator[tuple[Swarm, Trees]]:
    """The first of them: what is worked on in one tick."""
    members = 0
    for swarm, trees in swarms:
        if members and members + len(trees) > _AT_ONCE:
            return
        members += len(trees)
        yield swarm, trees


def _to_plan(swarm: Swarm, trees: Trees, now: float) -> bool:
    return trees.changed and now >= swarm.planned + _PAUSE + len(trees) * _PAUSE_EACH


def _behind(swarm: Swarm, trees: Trees, now: float) -> list[tuple[str, str]]:
    """Nodes inside a tree that lack far more of what their parent has than their siblings do: they receive slowly.
    Each with its parent."""
    total = swarm.layout.count
    begun = min((member.joined for member in swarm.members.values()), default=now)
    pace = swarm.held.bit_count() / trees.fanout / max(now - begun, 1.0)  # pieces of a stripe per second
    least = _BEHIND_PIECES + _BEHIND_SECONDS * pace
    lags: dict[str, list[tuple[int, str]]] = {}
    for node, home in trees.homes():
        upstream = trees.upstream(node)
        if upstream and (parent := swarm.members.get(upstream[home])) is not None:
            lacking = parent.have & ~swarm.members[node].have & stripe(home, trees.fanout, total)
            lags.setdefault(parent.node, []).append((lacking.bit_count(), node))
    found = []
    for parent_name, siblings in lags.items():
        siblings.sort(reverse=True)
        next_worst = siblings[1][0] if len(siblings) > 1 else 0
        if siblings[0][0] > max(least, 2 * next_worst):
            found.append((siblings[0][1], parent_name))
    return found


def _slow(rates: dict[str, float | None]) -> set[str]:
    known = [rate for rate in rates.values() if rate]
    if not known:
        return set()
    least = _SLOW * statistics.median(known)
    return {node for node, rate in rates.items() if rate and rate < least}
