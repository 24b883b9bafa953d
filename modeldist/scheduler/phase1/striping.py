"""Which swarms are striped, who has children in their trees, and when the trees are planned; and which are lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from modeldist.artifact import Digest
from modeldist.scheduler.phase1.config import Phase1Config
from modeldist.scheduler.phase1.line import Line, Slow
from modeldist.scheduler.phase1.nodes import Node
from modeldist.scheduler.phase1.slowness import HARDLY_BEGUN, TOGETHER_SECONDS, shown, slow_by_rate, slow_to_send
from modeldist.scheduler.phase1.swarm import Member, Swarm
from modeldist.scheduler.phase1.trees import Trees
from modeldist.scheduler.pieces import stripe

_LEAST_PIECES = 64  # fewer are gone before a tree fills
_LOOKING_SECONDS = 0.25  # between two looks at whether a swarm could be a line
_JUST_NOW = 2.0  # seconds since the first joined
_PAUSE, _PAUSE_EACH = 0.2, 5e-5  # seconds between two plans, and more for each member: it takes 3e-6 or less for each
_AT_ONCE = 600  # members of the swarms planned, and of those judged, in one tick; but one swarm of any size
_JUDGING_SECONDS = 0.5
_JUDGING_LINES = 0.25
_LEAST_SENT = 0.08  # seconds; who reads slowly is seldom asked for anything
_PROVEN = 3  # judgings in a row
_ENOUGH = 0.8  # of what the next can take
_BEHIND_PIECES = 6
_BEHIND_SECONDS = 1.5  # what a parent gets in this time may be unreported by its children


class Striping:
    """Swarms become striped when they are large, and stay so. A few equal nodes that begin together are put in a line,
    until one of them shows to be slow."""

    def __init__(self, config: Phase1Config, swarms: dict[Digest, Swarm], nodes: dict[str, Node]) -> None:
        self._config = config
        self._swarms = swarms
        self._nodes = nodes

    def enter(self, swarm: Swarm, member: Member) -> bool:
        """Whether the swarm that `member` joined is striped."""
        large = len(swarm.members) - len(swarm.sparse) >= self._config.stripe_from
        if swarm.trees is None or (large and isinstance(swarm.trees, Line)):
            if not large or swarm.layout.count < _LEAST_PIECES:
                return False
            swarm.trees = Trees(self._config.fanout)
            for other in swarm.members.values():
                self._add(swarm.trees, swarm, other)
        self._add(swarm.trees, swarm, member)
        return True

    def _add(self, trees: Trees | Line, swarm: Swarm, member: Member) -> None:
        """But for a sparse member, who would not pass a stripe on."""
        if member.sparse:
            return
        location, leaf = member.location, member.node not in swarm.serving
        if isinstance(trees, Line):
            trees.add(member.node, location, leaf=leaf, slow=self._nodes[member.node].slow(member.joined))
        else:
            trees.add(member.node, location.rack, leaf=leaf)

    def line_up(self, now: float) -> Iterator[Swarm]:
        """Yields the swarms that became a line, or are one no more."""
        for swarm in self._swarms.values():
            if isinstance(swarm.trees, Line):
                if swarm.trees.broken or (self._begins(swarm, now) and not self._equal(swarm, now)):
                    swarm.trees, swarm.lined = None, float("inf")
                    yield swarm
            elif now >= swarm.lined + _LOOKING_SECONDS and self._lines_up(swarm, now):
                yield swarm

    def line_up_with(self, swarm: Swarm, newcomer: Member, now: float) -> None:
        """Of the swarm that `newcomer` has just joined. Who comes while a line begins, and is not as its members are,
        ends it; who comes later is its last, and ends it if it would come before slow ones who have more."""
        if not isinstance(swarm.trees, Line):
            self._lines_up(swarm, now)
        elif self._begins(swarm, now):
            swarm.trees.broken |= not (self._few(swarm) and self._suits(swarm, newcomer) and self._equal(swarm, now))
        else:
            after = swarm.trees.slow_after(newcomer.node)
            swarm.trees.broken |= any(swarm.members[node].have & ~newcomer.have for node in after)

    @staticmethod
    def _begins(swarm: Swarm, now: float) -> bool:
        return now - min(member.joined for member in swarm.members.values()) <= TOGETHER_SECONDS

    def _lines_up(self, swarm: Swarm, now: float) -> bool:
        """Whether it has become a line now: its members are few and equal, and began together."""
        if swarm.trees is not None or not self._few(swarm) or now < swarm.lined:
            return False
        swarm.lined = now
        joined = [member.joined for member in swarm.members.values()]
        together = now - min(joined) <= _JUST_NOW and max(joined) - min(joined) <= TOGETHER_SECONDS
        suit = together and all(self._suits(swarm, member) for member in swarm.members.values())
        if not suit or not self._equal(swarm, now):
            return False
        swarm.trees = Line()
        for member in swarm.members.values():
            self._add(swarm.trees, swarm, member)
        return True

    def _few(self, swarm: Swarm) -> bool:
        """Of a large shard. Looked at first: it is asked with every join of every shard."""
        large = swarm.layout.count >= _LEAST_PIECES
        return large and self._config.line_from <= len(swarm.members) <= self._config.line_upto

    @staticmethod
    def _suits(swarm: Swarm, member: Member) -> bool:
        """It wants all of the shard, has hardly begun (what it held would have to go up to the first), and can send."""
        whole = member.wants and not member.sparse and member.have.bit_count() <= HARDLY_BEGUN
        return whole and member.node in swarm.serving

    def _equal(self, swarm: Swarm, now: float) -> bool:
        """Whether none of its members is known to be slow, but for those who can be the last, or fetches something else
        of size. (Of several shards each keeps the links full while another starts or ends, without order.)"""
        nodes = {node: self._nodes[node] for node in swarm.members}
        if any(self._fetches(node) > 1 for node in nodes.values()) or not self._slow_ones_can_be_last(swarm, now):
            return False
        return not slow_by_rate({name: node.capacity(now) for name, node in nodes.items()})

    def _slow_ones_can_be_last(self, swarm: Swarm, now: float) -> bool:
        """Not two who send slowly, one behind the other, nor one before such as receive more. Nor in racks: bytes would
        go back to theirs from the last."""
        found = [known for node in swarm.members if (known := self._nodes[node].slow(now)) is not None]
        sending = [known.share for known in found if known.slow is Slow.SENDING]
        receiving = [known.share for known in found if known.slow is Slow.RECEIVING]
        racks = {(member.location.zone, member.location.rack) for member in swarm.members.values()}
        enough = all(share >= _ENOUGH * most for share in sending for most in receiving)
        return not found or (len(sending) <= 1 and enough and len(racks) == 1)

    def look_for_slow(self, swarm: Swarm, now: float) -> None:
        """Somebody has all of it. If it can be told by now who of a small swarm is slow, it is remembered."""
        if swarm.shown or swarm.trees is not None or not self._few(swarm):
            return
        there = {name: node for name in swarm.members if not (node := self._nodes[name]).absent}
        slow = shown(swarm, {name: node.service for name, node in there.items()}, now)
        if slow is None:
            return
        swarm.shown = True
        if any(self._fetched_more(node, swarm) for node in there.values()):
            return  # who has little of this one may have much of another
        for name, node in there.items():
            node.shown = slow.get(name), now

    def _fetched_more(self, node: Node, swarm: Swarm) -> bool:
        """Whether it fetched something else of size since the swarm began, or does."""
        began = min(member.joined for member in swarm.members.values())
        for task in node.tasks:
            other = self._swarms[task]
            if other is swarm or other.layout.count < _LEAST_PIECES:
                continue
            member = other.members[node.name]
            if member.wants or began <= member.completed < float("inf"):
                return True
        return False

    def _fetches(self, node: Node) -> int:
        """Tasks of size."""
        swarms = (self._swarms[task] for task in node.tasks)
        return sum(swarm.members[node.name].wants for swarm in swarms if swarm.layout.count >= _LEAST_PIECES)

    def plan(self, now: float) -> Iterator[tuple[Swarm, list[str]]]:
        """Judge, and plan where something changed, but so seldom and so little at once that it holds nothing up. Yields
        the members with other upstreams than before."""
        striped = [(swarm, swarm.trees) for swarm in self._swarms.values() if swarm.trees is not None]
        striped.sort(key=lambda each: each[0].judged)
        for swarm, trees in _some(each for each in striped if now >= each[0].judged + _pause(each[1])):
            swarm.judged = now
            if isinstance(trees, Trees):
                self._judge(swarm, trees, now)
            elif trees.roots and (leader := swarm.members.get(trees.roots[0])) is not None and leader.wants:
                first, size = trees.roots[0], swarm.layout.piece_size
                sends = self._nodes[first].service.sends(_LEAST_SENT)
                trees.leads(leader.have.bit_count(), sends and sends / size, now)
        striped.sort(key=lambda each: each[0].planned)
        for swarm, trees in _some(each for each in striped if _to_plan(*each, now)):
            swarm.planned = now
            yield swarm, trees.plan()

    def _judge(self, swarm: Swarm, trees: Trees, now: float) -> None:
        """Nodes that send slowly get no children any more: slow by their line rate, or by what their children measure.
        So do those that are behind their siblings with the same parent. What is measured has to hold for a while: a
        tree fills from the top, and whoever is served last seems slow at first."""
        nodes = {name: self._nodes[name] for name in swarm.serving}
        slow = {*slow_by_rate({name: node.capacity(now) for name, node in nodes.items()})}
        serves_slowly = slow_to_send({name: node.service for name, node in nodes.items()})
        suspects = [*_behind(swarm, trees, now), *((name, "") for name in nodes if name in serves_slowly)]
        swarm.suspects = {suspect: swarm.suspects.get(suspect, 0) + 1 for suspect in suspects}
        slow |= {node for (node, _), times in swarm.suspects.items() if times >= _PROVEN}
        for node in (name for name in swarm.members if name in slow):  # in an order that a seed decides
            trees.make_leaf(node)


def _some(swarms: Iterable[tuple[Swarm, Trees | Line]]) -> Iterator[tuple[Swarm, Trees | Line]]:
    """The first of them: what is worked on in one tick."""
    members = 0
    for swarm, trees in swarms:
        if members and members + len(trees) > _AT_ONCE:
            return
        members += len(trees)
        yield swarm, trees


def _pause(trees: Trees | Line) -> float:
    """Seconds between two judgings."""
    return _JUDGING_LINES if isinstance(trees, Line) else _JUDGING_SECONDS


def _to_plan(swarm: Swarm, trees: Trees | Line, now: float) -> bool:
    """A line is planned at once: a slow node in it holds up all behind it, and few are concerned."""
    pause = _PAUSE + len(trees) * _PAUSE_EACH if isinstance(trees, Trees) else 0.0
    return trees.changed and now >= swarm.planned + pause


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
