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
        for members in (*group.homes, group.leaves):
            if node in members:
                _swap_out(members, node)
        if not len(group):
            del self._racks[rack]
            _swap_out(self._rack_homes[group.home], rack)
        self._upstream.pop(node, None)
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
        """Work the changes in. Returns the nodes whose upstream is another now."""
        self.changed = False
        left_over: list[tuple[_Rack, int, str]] = []
        trees = [self._tree(number, left_over) for number in range(self.fanout)]
        self._squeeze_in(trees, left_over)
        before, self._upstream = self._upstream, {}
        self.roots = list(dict.fromkeys(next(iter(tree)) for tree in trees if tree))
        self.near = list(dict.fromkeys(node for tree in trees for node in islice(tree, _NEAR)))
        concerned = []
        for node in self._rack_of:
            upstream = tuple(tree[node] for tree in trees)
            self._upstream[node] = upstream
            if before.get(node) != upstream:
                concerned.append(node)
        return concerned

    def _squeeze_in(self, trees: list[dict[str, str]], left_over: list[tuple[_Rack, int, str]]) -> None:
        """Leaves for whom a tree has no place in their rack: to a rack mate that has places left in other trees, else
        to those on whom nobody else depends, one more each."""
        children = Counter(chain.from_iterable(tree.values() for tree in trees)) if left_over else Counter()
        for group, tree, leaf in left_over:
            parents, inside = trees[tree], set(group.homes[tree])
            members = [node for node in group.order(tree) if node in parents or node == leaf]
            able = [node for node in members if node not in group.leaves]
            helper = min(able, key=lambda node: (children[node], node in inside), default=leaf)
            if children[helper] >= self.fanout or (helper == leaf and not inside):  # nobody: the lowest inside
                lowest = [node for node in parents if node in inside]
                helper = min(reversed(lowest), key=children.__getitem__, default=group.head(tree))
            if helper == leaf:  # it is the one that could help: it changes places with another
                other = next((node for node in reversed(members) if node != leaf and node not in inside), "")
                if other and parents[other]:
                    parents[leaf], parents[other] = parents[other], leaf
                else:
                    parents[leaf] = group.head(tree)
            else:
                parents[leaf] = helper
            children[helper] += 1

    def _tree(self, tree: int, left_over: list[tuple[_Rack, int, str]]) -> dict[str, str]:
        """node -> parent, parents first."""
        order: list[str] = []
        for shift in range(self.fanout):
            order += self._rack_homes[(tree + shift) % self.fanout]
        heads = [self._racks[rack].head(tree) for rack in order]
        parents: dict[str, str] = dict.fromkeys(heads[:1], "")
        for index, rack in enumerate(order):
            below = heads[index * self.fanout + 1 : (index + 1) * self.fanout + 1]
            self._attach(self._racks[rack], tree, heads[index], below, parents)
            left_over += [
                (self._racks[rack], tree, node) for node in self._racks[rack].order(tree) if node not in parents
            ]
        return parents

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
