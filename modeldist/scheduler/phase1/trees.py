"""Stripes: in a large swarm the pieces of stripe s (`pieces.stripe_of`) travel down tree s, each node being inside one.

A node has `fanout` places for children, all in its home tree, and is a leaf of the others. So every uplink carries
`fanout` streams of 1/fanout of the rate and every downlink receives as many: both are full, and a piece is at the last
of N nodes after log_fanout(N) hops. A rack is entered once per tree, by its head; heads of one rack in `fanout` pass a
tree on to other racks.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, islice

_NEAR = 64  # of each tree


@dataclass(slots=True)
class _Rack:
    """`home`: the tree in which other racks hang below this one. `homes`: members by home tree."""

    home: int
    homes: list[list[str]]
    leaves: list[str] = field(default_factory=list)
    heads: dict[int, str] = field(default_factory=dict)
    touched: bool = True  # since it was planned
    planned: list[tuple[str, ...]] = field(default_factory=list)  # by tree: its head and the heads of the racks below
    parents: list[dict[str, str]] = field(default_factory=list)  # by tree: node -> parent, parents first

    def __len__(self) -> int:
        return sum(map(len, self.homes)) + len(self.leaves)

    def head(self, tree: int) -> str:
        """Where the tree enters the rack: the same node as long as it is inside."""
        inside = self.homes[tree] or self.order(tree)
        if self.heads.get(tree) not in inside:
            self.heads[tree] = inside[0]
        return self.heads[tree]

    def order(self, tree: int) -> list[str]:
        """Those inside this tree first."""
        members: list[str] = []
        for shift in range(len(self.homes)):
            members += self.homes[(tree + shift) % len(self.homes)]
        return members + self.leaves


class Trees:
    """Who takes which stripe from whom. Changes are gathered; `plan` works them in and says whom they concern.

    Lists change by swapping with the last, so that one coming or going moves a few nodes and not a whole tree.
    """

    def __init__(self, fanout: int) -> None:
        self.fanout = fanout
        self.changed = False
        self._racks: dict[str, _Rack] = {}
        self._rack_homes: list[list[str]] = [[] for _ in range(fanout)]
        self._rack_of: dict[str, str] = {}
        self._upstream: dict[str, tuple[str, ...]] = {}
        self.roots: list[str] = []
        self.near: list[str] = []  # nodes few hops from a reader of the origin

    def __len__(self) -> int:
        return len(self._rack_of)

    def __contains__(self, node: str) -> bool:
        return node in self._rack_of

    def add(self, node: str, rack: str, *, leaf: bool = False) -> None:
        """`leaf`: it is to have no children."""
        if node in self._rack_of:
            return
        group = self._racks.get(rack)
        if group is None:
            home = min(range(self.fanout), key=lambda tree: len(self._rack_homes[tree]))
            group = self._racks[rack] = _Rack(home, [[] for _ in range(self.fanout)])
            self._rack_homes[home].append(rack)
        self._rack_of[node] = rack
        group.touched = True
        (group.leaves if leaf else group.homes[self._wanting(group)]).append(node)
        self.changed = True

    def _wanting(self, group: _Rack) -> int:
        """The tree that lacks most places for children in this rack; the one that leaves the rack needs more."""
        lacking = [-self.fanout * len(homes) for homes in group.homes]
        if len(self._racks) > 1:
            lacking[group.home] += self.fanout
        return max(range(self.fanout), key=lambda tree: lacking[tree])

    def remove(self, node: str) -> None:
        rack = self._rack_of.pop(node, None)
        if rack is None:
            return
        group = self._racks[rack]
        group.touched = True
        for members in (*group.homes, group.leaves):
            if node in members:
                _swap_out(members, node)
        if not len(group):
            del self._racks[rack]
            _swap_out(self._rack_homes[group.home], rack)
        for parent in self._upstream.pop(node, ()):
            if above := self._racks.get(self._rack_of.get(parent, "")):
                above.touched = True  # it may hang there again under the same name
        self.changed = True

    def make_leaf(self, node: str) -> None:
        """From now on it is to have no children."""
        rack = self._rack_of.get(node)
        if rack is not None and node not in self._racks[rack].leaves:
            self.remove(node)
            self.add(node, rack, leaf=True)

    def homes(self) -> Iterator[tuple[str, int]]:
        """Who may have children, in which tree."""
        for group in self._racks.values():
            for tree, members in enumerate(group.homes):
                for node in members:
                    yield node, tree

    def upstream(self, node: str) -> tuple[str, ...]:
        """From whom it takes each stripe, as last planned; "": from the origin. Empty: not planned yet."""
        return self._upstream.get(node, ())

    def roots_at(self, node: str) -> tuple[int, ...]:
        """The stripes that this node reads from the origin."""
        return tuple(tree for tree, parent in enumerate(self._upstream.get(node, ())) if not parent)

    def plan(self) -> list[str]:
        """Work the changes in, in the racks that they touch. Returns the nodes whose upstream is another now."""
        self.changed = False
        orders = [self._order(tree) for tree in range(self.fanout)]
        below: dict[str, list[tuple[str, ...]]] = {rack: [] for rack in self._racks}
        for tree, order in enumerate(orders):
            heads = [self._racks[rack].head(tree) for rack in order]
            for index, rack in enumerate(order):
                below[rack].append((heads[index], *heads[index * self.fanout + 1 : (index + 1) * self.fanout + 1]))
        told: dict[str, list[str]] = {}
        for rack, group in self._racks.items():
            if group.touched or group.planned != below[rack]:
                group.touched, group.planned = False, below[rack]
                self._plan_rack(group, told)
        roots = [self._racks[order[0]].head(tree) for tree, order in enumerate(orders) if order]
        for tree, root in enumerate(roots):
            told.setdefault(root, self._before(root))[tree] = ""
        self.roots = list(dict.fromkeys(roots))
        self.near = list(
            dict.fromkeys(chain.from_iterable(self._first(tree, order) for tree, order in enumerate(orders)))
        )
        concerned = [node for node, upstream in told.items() if self._upstream.get(node) != tuple(upstream)]
        self._upstream.update((node, tuple(told[node])) for node in concerned)
        return concerned

    def _order(self, tree: int) -> list[str]:
        """The racks, those that pass this tree on first."""
        return [rack for shift in range(self.fanout) for rack in self._rack_homes[(tree + shift) % self.fanout]]

    def _first(self, tree: int, order: list[str]) -> Iterator[str]:
        """Those whom this tree reaches first, more or less."""
        members = chain.from_iterable(
            (self._racks[rack].head(tree), *islice(self._racks[rack].parents[tree], _NEAR)) for rack in order[:_NEAR]
        )
        return islice(members, _NEAR)

    def _before(self, node: str) -> list[str]:
        return list(self._upstream.get(node, ("",) * self.fanout))

    def _plan_rack(self, group: _Rack, told: dict[str, list[str]]) -> None:
        group.parents = [{} for _ in range(self.fanout)]
        for tree, (head, *racks) in enumerate(group.planned):
            self._attach(group, tree, head, racks, group.parents[tree])
        children = Counter(chain.from_iterable(parents.values() for parents in group.parents))
        for tree, (head, *_) in enumerate(group.planned):
            self._squeeze_in(group, tree, head, children)
            for node, parent in group.parents[tree].items():
                told.setdefault(node, self._before(node))[tree] = parent

    def _squeeze_in(self, group: _Rack, tree: int, head: str, children: Counter[str]) -> None:
        """Leaves for whom the tree has no place in the rack: to rack mates with places left in their own tree, else to
        the lowest inside, on whom few depend, one more each."""
        parents, order = group.parents[tree], group.order(tree)
        left_over = [node for node in order if node not in parents and node != head]
        if not left_over:
            return
        able, inside = set(order).difference(group.leaves), set(group.homes[tree])
        free = [node for node in (*parents, head) if node in able and children[node] < self.fanout]
        lowest = deque([head, *(node for node in parents if node in inside)])
        others = [node for node in parents if node in able and node not in inside]
        for leaf in left_over:
            if not free and leaf in able and children[leaf] < self.fanout and others:
                other = others.pop()  # the leaf is the one that could help: it goes between another and its parent
                parents[leaf], parents[other] = parents[other], leaf
                children[leaf] += 1
            else:
                helper = free[-1] if free else lowest[-1]
                parents[leaf] = helper
                children[helper] += 1
                if not free:
                    lowest.rotate()
                elif children[helper] >= self.fanout:
                    free.pop()
            if leaf in able and children[leaf] < self.fanout:
                free.append(leaf)

    def _attach(self, group: _Rack, tree: int, head: str, racks: list[str], parents: dict[str, str]) -> None:
        """The rack's members and the heads of the racks below it, each to a place: its old one if that is still there,
        else the highest that is free. Leaves may be left over."""
        close, others = racks[: self.fanout - 1], racks[self.fanout - 1 :]
        members = group.order(tree)
        places = dict.fromkeys((head, *group.homes[tree]), self.fanout)
        places[head] -= len(close)
        parents.update(dict.fromkeys(close, head))
        passing = {*places, *others}  # those who pass the stripe on
        kept: dict[str, list[str]] = {}
        inside: deque[str] = deque()
        leaves: deque[str] = deque()
        for node in (*members[:2], *others, *members[2:]):  # after the one that they may hang below
            old = self._upstream[node][tree] if node in self._upstream else ""
            if node == head:
                continue
            if places.get(old, 0) > 0:
                places[old] -= 1
                kept.setdefault(old, []).append(node)
            else:
                (inside if node in passing else leaves).append(node)
        served: list[str] = []
        lowest: list[str] = []
        reached = deque([head])
        while reached or inside:
            if not reached:  # the lowest, on whom few depend, take one child more each
                lowest = lowest or served.copy()
                reached.append(lowest.pop())
                places[reached[0]] = 1
            parent = reached.popleft()
            served.append(parent)
            below = kept.pop(parent, [])
            self._place(below, places[parent], passing, inside, leaves)
            parents.update(dict.fromkeys(below, parent))
            reached.extend(node for node in below if node in places)

    def _place(self, below: list[str], free: int, passing: set[str], inside: deque[str], leaves: deque[str]) -> None:
        """Fill a parent's free places; those inside go before leaves, and take the place of one if need be."""
        while inside:
            if free > 0:
                free -= 1
            elif (leaf := next((node for node in below if node not in passing), None)) is not None:
                below.remove(leaf)
                leaves.append(leaf)
            else:
                return
            below.append(inside.popleft())
        while leaves and free > 0:
            free -= 1
            below.append(leaves.popleft())


def _swap_out(members: list[str], gone: str) -> None:
    last = members.pop()
    if last != gone:
        members[members.index(gone)] = last
