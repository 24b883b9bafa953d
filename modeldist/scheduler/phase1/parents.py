"""When lists of parents are sent: at once to a joiner, soon to those whom a change concerns, now and then to all.

Changes are gathered and sent on `tick`, to each member at most every `config.parents_interval` seconds.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable, Sequence

from modeldist.artifact import Digest
from modeldist.scheduler import messages as m
from modeldist.scheduler.phase1.candidates import Candidates
from modeldist.scheduler.phase1.config import Phase1Config
from modeldist.scheduler.phase1.coverage import Coverage
from modeldist.scheduler.phase1.line import Line
from modeldist.scheduler.phase1.nodes import Node
from modeldist.scheduler.phase1.striping import Striping
from modeldist.scheduler.phase1.swarm import Member, Swarm
from modeldist.scheduler.pieces import PieceSet


class ParentLists:
    def __init__(
        self,
        config: Phase1Config,
        swarms: dict[Digest, Swarm],
        nodes: dict[str, Node],
        candidates: Candidates,
        rng: random.Random,
        planned: Callable[[Swarm], None],
    ) -> None:
        self._config = config
        self._swarms = swarms
        self._nodes = nodes
        self._candidates = candidates
        self._rng = rng
        self._striping = Striping(config, swarms, nodes)
        self._planned = planned  # other members read from the origin now
        self._coverage = Coverage(swarms, candidates)
        self._stale: dict[tuple[Digest, str], None] = {}  # the list is to be completed and sent
        self._due: list[tuple[float, Digest, str, float]] = []  # periodic refresh; the last field is Member.joined

    # --- what changes lists ----------------------------------------------------------------------------------------

    def first(self, swarm: Swarm, member: Member, now: float) -> m.Told:
        """A joiner's first list, at once if there is anything to have."""
        self._plan_refresh(swarm, member, now)
        if swarm.trees is not None and not swarm.held:
            return []  # nobody has anything yet: the first list is that of its place in the trees
        return self._complete(swarm, member, now)

    def joined(self, swarm: Swarm, member: Member) -> None:
        """Lists with room take the newcomer in, and its rack shares its imports anew."""
        if member.sparse:
            self._coverage.watch(swarm)
        if self._striping.enter(swarm, member):
            return
        if member.node in swarm.serving:
            self._candidates.childless[swarm.task, member.node] = None
            if len(swarm.serving) <= self._config.candidates + 1:
                self._stale.update(dict.fromkeys((swarm.task, node) for node in swarm.wanting()))
        self._rack_changed(swarm, member)

    def in_line(self, swarm: Swarm, member: Member, now: float) -> m.Told:
        """The newcomer, whose other tasks are known now, may make a line of the swarm, or end the one there is. That is
        planned and told at once: what others than the first read before would have to go up to it."""
        self._striping.line_up_with(swarm, member, now)
        if not isinstance(swarm.trees, Line) or swarm.trees.broken:
            return []
        self._replanned(swarm, swarm.trees.plan())
        return self._send([key for key in self._stale if key[0] == swarm.task], now)

    def left(self, swarm: Swarm, member: Member) -> None:
        """`member` is out of the swarm already."""
        for child in self._candidates.orphaned(swarm, member):
            self._stale[swarm.task, child.node] = None
        self._rack_changed(swarm, member)

    def satisfied(self, swarm: Swarm, member: Member, now: float) -> None:
        self._stale.pop((swarm.task, member.node), None)
        self._rack_changed(swarm, member)
        self._striping.look_for_slow(swarm, now)

    def wants_again(self, swarm: Swarm, member: Member, now: float) -> None:
        if not member.wants:
            self._plan_refresh(swarm, member, now)
        self._stale[swarm.task, member.node] = None

    def _rack_changed(self, swarm: Swarm, member: Member) -> None:
        group = swarm.sharing(member)
        if group is not None:
            for node in group.sample(len(group), self._rng):
                self._stale[swarm.task, node] = None

    # --- sending ---------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> m.Told:
        self._refresh(now)
        self._give_children(now)
        self._stale.update(dict.fromkeys(self._coverage.look(now)))
        self._plan_trees(now)
        return self._send(list(self._stale), now)

    def _send(self, stale: Iterable[tuple[Digest, str]], now: float) -> m.Told:
        """The lists of those that were not told a moment ago."""
        told: m.Told = []
        for key in stale:
            swarm = self._swarms.get(key[0])
            member = swarm.members.get(key[1]) if swarm is not None else None
            if swarm is None or member is None or not member.wants:
                del self._stale[key]
            elif now - member.told >= self._config.parents_interval:
                del self._stale[key]
                told += self._complete(swarm, member, now)
        return told

    def _plan_trees(self, now: float) -> None:
        for swarm in self._striping.line_up(now):
            self._replanned(swarm, swarm.wanting())
        for swarm, nodes in self._striping.plan(now):
            self._replanned(swarm, nodes)

    def _replanned(self, swarm: Swarm, concerned: Iterable[str]) -> None:
        """These are to be told, whenever they were told last."""
        for node in concerned:
            self._stale[swarm.task, node] = None
            swarm.members[node].told = float("-inf")
        self._planned(swarm)

    def _complete(self, swarm: Swarm, member: Member, now: float) -> m.Told:
        """Fill the list up and send it."""
        kept: Sequence[str]
        chosen: tuple[str, ...]
        if isinstance(swarm.trees, Line):
            kept = chosen = self._in_line(swarm, swarm.trees, member)
        elif swarm.trees is not None:
            near = [*swarm.trees.upstream(member.node)]
            if member.node in swarm.trees.roots:
                near += swarm.trees.roots  # they help each other to read at the end
            kept = [node for node in dict.fromkeys(near) if node in swarm.serving and node != member.node]
            kept += [node for node in member.parents if node in swarm.serving and node not in kept]
            kept = kept[: self._config.striped_candidates]
            chosen = self._candidates.choose(swarm, member, kept, now)
        else:
            kept = self._candidates.kept(swarm, member, now)
            chosen = self._candidates.choose(swarm, member, kept, now)
        self._candidates.assign(swarm, member, chosen)
        member.told = now
        if not member.parents and not kept:
            return []
        return [(member.node, self._message(swarm, member))]

    @staticmethod
    def _in_line(swarm: Swarm, line: Line, member: Member) -> tuple[str, ...]:
        return tuple(node for node in line.above(member.node) if node in swarm.serving)

    def _message(self, swarm: Swarm, member: Member) -> m.Parents:
        parents = []
        upstream = swarm.trees.upstream(member.node) if swarm.trees is not None else ()
        for node in member.parents:
            record = self._nodes[node]
            have = PieceSet(swarm.members[node].have).to_bytes()
            stripes = sum(1 << tree for tree, parent in enumerate(upstream) if parent == node)
            parents.append(m.Parent(node, record.address, have, record.distance_to(member.location), stripes))
        return m.Parents(swarm.task, tuple(parents), swarm.share(member), len(upstream))

    def _give_children(self, now: float) -> None:
        childless, self._candidates.childless = self._candidates.childless, {}
        for task, node in childless:
            swarm = self._swarms.get(task)
            member = swarm.members.get(node) if swarm is not None else None
            if swarm is None or member is None or node not in swarm.serving or swarm.trees is not None:
                continue
            for child in self._candidates.adopt(swarm, member, now):
                self._stale[task, child.node] = None

    def _plan_refresh(self, swarm: Swarm, member: Member, now: float) -> None:
        when = now + self._config.refresh * self._rng.uniform(0.75, 1.25)
        heapq.heappush(self._due, (when, swarm.task, member.node, member.joined))

    def _refresh(self, now: float) -> None:
        """Now and then the worst parents are exchanged."""
        while self._due and self._due[0][0] <= now:
            _, task, node, joined = heapq.heappop(self._due)
            swarm = self._swarms.get(task)
            member = swarm.members.get(node) if swarm is not None else None
            if swarm is None or member is None or member.joined != joined:
                continue
            if member.wants and swarm.trees is None:
                refreshed = self._candidates.refreshed(swarm, member, now)
                if set(refreshed) != set(member.parents):
                    self._candidates.assign(swarm, member, refreshed)
                    self._stale[task, node] = None
                self._plan_refresh(swarm, member, now)
