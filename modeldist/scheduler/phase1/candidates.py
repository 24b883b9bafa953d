"""Which parents a child gets: near ones first, a few far ones, the least crowded of each.

Every member that serves gets children early, so that no piece sits on a node that is in nobody's list.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

from modeldist.artifact import Digest
from modeldist.scheduler.phase1.config import Phase1Config
from modeldist.scheduler.phase1.nodes import Node
from modeldist.scheduler.phase1.swarm import Member, NodeSet, Swarm

_DRAW = 3  # candidates looked at per place in the list
_DRAW_SPARSE = 12  # the same for a child that needs some pieces only: most may be here for others


class Candidates:
    """Keeps the lists (`Member.parents`), their mirror (`Member.children`) and the parents' reservations in step."""

    def __init__(self, config: Phase1Config, nodes: dict[str, Node], rng: random.Random) -> None:
        self._config = config
        self._nodes = nodes
        self._rng = rng
        self.childless: dict[tuple[Digest, str], None] = {}  # members to be given children

    def choose(self, swarm: Swarm, child: Member, keep: Iterable[str], now: float) -> tuple[str, ...]:
        """`keep` and, in the places left, the best of a random draw: this rack, then this zone, then anywhere."""
        config, location = self._config, child.location
        chosen = dict.fromkeys(keep)
        if swarm.trees is not None:  # parents to fall back upon
            rack = swarm.racks.get(location.rack) if location.rack else None
            for group in (rack, swarm.serving):
                if group is not None:
                    self._add(swarm, chosen, group, config.striped_candidates, child, now)
            return tuple(chosen)
        rack = swarm.racks.get(location.rack) if location.rack else None
        zone = swarm.zones.get(location.zone) if location.zone else None
        if rack is not None:
            far = sum(node not in rack for node in chosen)
            self._add(
                swarm, chosen, rack, min(config.candidates, config.candidates - config.far_candidates + far), child, now
            )
        if zone is not None:
            self._add(swarm, chosen, zone, config.candidates - 1, child, now, without=rack)
        self._add(swarm, chosen, swarm.serving, config.candidates, child, now, without=rack)
        if rack is not None:  # a large zone or few far nodes: fill up from the rack
            self._add(swarm, chosen, rack, config.candidates, child, now)
        if not chosen:  # who failed of late, rather than nobody: it may be the only one that has anything
            self._add(swarm, chosen, swarm.serving, config.candidates, child, now, failing=True)
        return tuple(chosen)

    def _add(
        self,
        swarm: Swarm,
        chosen: dict[str, None],
        group: NodeSet,
        upto: int,
        child: Member,
        now: float,
        without: NodeSet | None = None,
        failing: bool = False,
    ) -> None:
        wanted = upto - len(chosen)
        if wanted <= 0:
            return
        nodes = self._nodes
        draw = _DRAW_SPARSE if child.sparse else _DRAW
        drawn = [
            node
            for node in group.sample(draw * wanted + len(chosen), self._rng)
            if node != child.node
            and node not in chosen
            and not (without is not None and node in without)
            and nodes[node].service.failing(now) == failing
        ]
        if child.sparse:
            members, lacks = swarm.members, child.lacks
            drawn = [node for node in drawn if members[node].brings & lacks]
            self._rng.shuffle(drawn)  # alike are those that have most of it for each other
            drawn.sort(key=lambda node: (-(members[node].brings & lacks).bit_count(), nodes[node].crowding(now)))
        elif len(drawn) > wanted:
            self._rng.shuffle(drawn)
            drawn.sort(key=lambda node: nodes[node].crowding(now))
        chosen.update(dict.fromkeys(drawn[:wanted]))

    def kept(self, swarm: Swarm, child: Member, now: float) -> list[str]:
        """The child's parents that still serve, less the far ones in the place of rack mates who joined since."""
        current = [node for node in child.parents if node in swarm.serving]
        rack = swarm.racks.get(child.location.rack) if child.location.rack else None
        if rack is None:
            return current
        mates = len(rack) - (child.node in rack)
        room = self._config.candidates - min(mates, self._config.candidates - self._config.far_candidates)
        far = [node for node in current if node not in rack]
        if len(far) <= room:
            return current
        far.sort(key=lambda node: self._worth(node, child.node, now), reverse=True)
        dropped = set(far[room:])
        return [node for node in current if node not in dropped]

    def refreshed(self, swarm: Swarm, child: Member, now: float) -> tuple[str, ...]:
        """The list with its worst part exchanged; parents that serve well are kept."""
        current = self.kept(swarm, child, now)
        if len(swarm.serving) <= self._config.candidates:
            return self.choose(swarm, child, current, now)
        current.sort(key=lambda node: self._worth(node, child.node, now), reverse=True)
        kept = int(len(current) * (1 - self._config.refresh_share))
        return self.choose(swarm, child, current[:kept], now)

    def _worth(self, parent: str, child: str, now: float) -> float:
        service = self._nodes[parent].service
        if service.failing(now):
            return -1.0
        return service.rate_to(child) or 0.0

    def adopt(self, swarm: Swarm, parent: Member, now: float) -> list[Member]:
        """Children for a member that has too few: put into their lists in place of the most crowded parent.

        Returns the children whose list changed.
        """
        config = self._config
        changed: list[Member] = []
        groups = [swarm.fetching.get(parent.location.rack)] if parent.location.rack else []
        groups += [group for rack, group in swarm.fetching.items() if rack != parent.location.rack or not rack]
        for group in groups:
            missing = config.adopt - len(parent.children)
            if group is None or missing <= 0:
                continue
            for node in group.sample(missing + 1, self._rng):
                child = swarm.members[node]
                if node == parent.node or node in parent.children or len(parent.children) >= config.adopt:
                    continue
                self.assign(swarm, child, self._with(swarm, child, parent.node, now))
                changed.append(child)
        if swarm.sparse:
            changed += self._adopt_sparse(swarm, parent, now)
        return changed

    def _adopt_sparse(self, swarm: Swarm, parent: Member, now: float) -> list[Member]:
        """Of the sparse members, those that lack something that `parent` has or will have."""
        changed: list[Member] = []
        for node in swarm.sparse.sample(_DRAW_SPARSE * self._config.adopt, self._rng):
            child = swarm.members[node]
            if len(parent.children) >= self._config.adopt:
                break
            if child is parent or not child.wants or node in parent.children or not parent.brings & child.lacks:
                continue
            self.assign(swarm, child, self._with(swarm, child, parent.node, now))
            changed.append(child)
        return changed

    def give(self, swarm: Swarm, child: Member, pieces: int, now: float) -> bool:
        """Add the parent that holds most of `pieces`, in the place of the one that brings least where the list is full.
        Whether there is one."""
        nodes = self._nodes
        holders = [node for node in swarm.serving if swarm.members[node].have & pieces and node not in child.parents]
        holders = [node for node in holders if not nodes[node].service.failing(now)] or holders
        if not holders:
            return False
        members, lacks = swarm.members, child.lacks
        best = max(holders, key=lambda node: ((members[node].have & pieces).bit_count(), -nodes[node].crowding(now)))
        parents = [node for node in child.parents if node in members]
        if len(parents) >= self._config.candidates:
            parents.remove(min(parents, key=lambda node: (members[node].brings & lacks).bit_count()))
        self.assign(swarm, child, (*parents, best))
        return True

    def _with(self, swarm: Swarm, child: Member, parent: str, now: float) -> tuple[str, ...]:
        """The child's list with `parent` in it; a full one gives up a parent that has other children."""
        parents = [node for node in child.parents if node in swarm.members]
        if len(parents) >= self._config.candidates:
            spare = [node for node in parents if len(swarm.members[node].children) > self._config.adopt]
            parents.remove(max(spare or parents, key=lambda node: self._nodes[node].crowding(now)))
        return (*parents, parent)

    def assign(self, swarm: Swarm, child: Member, parents: tuple[str, ...]) -> None:
        before, after = child.parents, parents
        child.parents = parents
        for node in before:
            if node in after:
                continue
            self._release(swarm, node, child.node)
        for node in after:
            if node in before:
                continue
            swarm.members[node].children[child.node] = None
            self._nodes[node].service.assign(child.node)

    def _release(self, swarm: Swarm, parent: str, child: str) -> None:
        if (member := swarm.members.get(parent)) is not None:
            member.children.pop(child, None)
            if not member.children:
                self.childless[swarm.task, parent] = None
        if (record := self._nodes.get(parent)) is not None:
            record.service.release(child)

    def release_all(self, swarm: Swarm, child: Member) -> None:
        """The child fetches no more."""
        self.assign(swarm, child, ())

    def orphaned(self, swarm: Swarm, parent: Member) -> list[Member]:
        """`parent` left the swarm (and is out of `swarm.members`): its children, with it struck from their lists."""
        children = [swarm.members[node] for node in parent.children if node in swarm.members]
        for child in children:
            child.parents = tuple(node for node in child.parents if node != parent.node)
            self._release(swarm, parent.node, child.node)
        parent.children.clear()
        return children
