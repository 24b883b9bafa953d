"""One task on one node: what is here, what is on its way, and what may be fetched from whom."""

from __future__ import annotations

import functools
import operator
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from modeldist.artifact import Digest
from modeldist.scheduler.messages import Parent, Priority
from modeldist.scheduler.phase2.parent import Request
from modeldist.scheduler.phase2.stripes import Stripes
from modeldist.scheduler.pieces import PieceLayout, every, proves_itself, random_member

_RARITY_SAMPLE = 3
_LAST = 64  # pieces missing, but at most an eighth of all, from when on they are fetched in order
_SHARES = 3  # of what only a slow parent has, its own and others'
_CROWD = 1.25  # times as many nodes as one has parents; a list that lacks a node or two for a while makes none
_ALONE = 2  # nodes that fetch a task; one has nobody to exchange with but the other
_NEXT = 2  # pieces that go before others where more do
_SPARE = 2  # more would take the downlink from the parents that bring stripes and from the origin


@dataclass(slots=True)
class Fetch:
    """Bitmaps are plain integers here; this is where they are combined a few times per piece.

    `all`: the pieces that are wanted, which are `only` or, where that is 0, every one of the shard. `flying`: requested
    from a peer. `verifying`: fetched, digest being checked. `leased`: ours to read from the
    origin. `out_of_reach`: as phase 1 was told last, what no parent serves. `holders`: what each parent holds; `once`,
    `twice`: pieces that at least one of them holds, and two. `far`: parents outside this rack. `overdue`: held by one
    parent only, and that for a while. `awaited`: runs of pieces, start and count of each, that readers wait for, in
    order.
    """

    task: Digest
    layout: PieceLayout
    priority: Priority
    have: int
    progressed: float
    digests: int = 0
    flying: int = 0
    verifying: int = 0
    leased: int = 0
    out_of_reach: int = 0
    holders: dict[str, int] = field(default_factory=dict)
    far: set[str] = field(default_factory=set)
    near: int = 0  # held by some parent in this rack
    once: int = 0
    twice: int = 0
    overdue: int = 0
    next_review: float = 0.0
    share: tuple[int, int] = (0, 0)
    stripes: Stripes | None = None
    spare: int = 0  # requests out to parents that bring no stripe
    listed: tuple[Parent, ...] = ()  # as phase 1 last told
    excluded: dict[str, int] = field(default_factory=dict)
    banned: set[str] = field(default_factory=set)
    requests: dict[int, list[Request]] = field(default_factory=dict)
    asked: int = 0  # pieces that the origin was asked for and not leased yet, of a task that is read
    asked_at: float = float("-inf")
    first: tuple[tuple[int, int], ...] = ()  # as phase 1 was told last
    awaited: tuple[tuple[int, int], ...] = ()
    _awaited_bits: int = 0
    told_complete: bool = False
    only: int = 0
    _lonely: int = 0  # held by one parent only when that was looked at last
    all: int = field(init=False)
    _last: int = field(init=False)

    def __post_init__(self) -> None:
        self.all = self.only & self.layout.all.bits or self.layout.all.bits
        self._last = min(_LAST, self.all.bit_count() // 8)
        self.restart_digests()

    def restart_digests(self) -> None:
        self.digests = self.all if proves_itself(self.task, self.layout) else 0

    @property
    def complete(self) -> bool:
        return not self.all & ~self.have

    @property
    def missing(self) -> int:
        return self.all & ~self.have

    @property
    def priority_class(self) -> int:
        return int(Priority.SERVING if self._awaited_bits & self.missing else self.priority)

    def await_(self, runs: tuple[tuple[int, int], ...]) -> None:
        """Readers wait for these pieces, in this order."""
        self.awaited, self._awaited_bits = runs, 0
        for start, count in runs:
            self._awaited_bits |= ((1 << count) - 1) << start

    def awaits(self, piece: int) -> bool:
        return bool(self._awaited_bits >> piece & 1)

    def first_awaited(self, open_: int) -> int | None:
        """The member of `open_` that readers wait for first. Where several nodes fetch the task, only if it is one of
        the next few: nodes that stream together all want the same pieces next, and would have nothing to exchange."""
        if not open_ & self._awaited_bits:
            return None
        few = self.share[1] > _ALONE or self.stripes is not None
        left = _NEXT
        for start, count in self.awaited:
            bits = ((1 << count) - 1) << start & self.missing
            if not few:
                if found := bits & open_:
                    return (found & -found).bit_length() - 1
                continue
            while bits and left:
                low = bits & -bits
                if open_ & low:
                    return low.bit_length() - 1
                bits ^= low
                left -= 1
        return None

    def awaited_from(self, node: str) -> bool:
        """Whether others wait to have from here what `node` brings: it comes down a tree, over the rack's uplink, or
        far more nodes fetch the task than one of them has parents, and not many can go where this one went."""
        crowd = self.share[1] > _CROWD * (len(self.holders) + 1)
        return crowd or self.stripes is not None or node in self.far

    def fetchable(self, node: str, now: float, patience: float, *, slow: bool = False) -> int:
        """Pieces to fetch from `node` now.

        Over the rack's uplink come only the pieces of this node's share that no rack mate has, so that each byte
        crosses it once; a task that stands still takes what it can get. Of what only a `slow` parent has, this node
        takes its share and the next ones: a few copies are enough for the others to have it from there, and they would
        all wait for copies of the same piece. The next ones, since one of those who share is that parent itself, and
        another may be slow too.
        """
        held = self.holders.get(node, 0) & self.digests
        open_ = held & ~(self.have | self.flying | self.verifying | self.leased | self.excluded.get(node, 0))
        if self.stripes is not None:
            if self.spare >= _SPARE and not self.stripes.brings(node):
                return 0
            return open_ & self.stripes.from_(node)
        index, count = self.share
        if open_ and count > 1 and node in self.far and now - self.progressed <= patience:
            open_ &= every(index, count, self.layout.count) & ~self.near
        if open_ and count > 1 and slow:
            open_ &= functools.reduce(operator.or_, self._shares()) | self.twice | self.overdue
        return open_

    def _shares(self) -> Iterator[int]:
        """This node's share and the next ones."""
        index, count = self.share
        for step in range(min(_SHARES, count)):
            yield every((index + step) % count, count, self.layout.count)

    def choose(self, open_: int, node: str, rng: random.Random, *, slow: bool) -> int:
        """A member of `open_` to fetch from `node`: what is waited for; what nobody else has, of this node's own share
        first, so that children of one parent get different pieces and have something to exchange; else the rarest among
        a few drawn at random. Of the last ones the first: what comes behind a gap can be hashed only when all has come.

        From a `slow` parent any one at random where none is of these shares.
        """
        if (piece := self.first_awaited(open_)) is not None:
            return piece
        first_of_few = self.stripes is not None and self.stripes.brings(node)  # and others wait for it
        # Or nobody to exchange with: in order, as the sha256 goes along.
        if first_of_few or len(self.holders) == 1:
            return _first(open_)
        if only_there := open_ & ~self.twice if slow or self.share[1] > 1 else 0:
            wanted = (only_there & share for share in self._shares())
            return random_member(next((pieces for pieces in wanted if pieces), only_there), rng)
        if self.missing.bit_count() <= self._last and not slow:
            return _first(open_)
        return self._rare(open_, 1 if slow else _RARITY_SAMPLE, rng)

    def _rare(self, open_: int, sample: int, rng: random.Random) -> int:
        """The rarest of so many drawn at random."""
        drawn = {random_member(open_, rng) for _ in range(sample)}
        if len(drawn) == 1:
            return drawn.pop()
        return min(drawn, key=lambda piece: sum(held >> piece & 1 for held in self.holders.values()))

    def gained(self, node: str, pieces: int) -> None:
        """`node` holds `pieces` too. A refusal of them before is forgotten."""
        held = self.holders.get(node, 0)
        new = pieces & ~held
        self.holders[node] = held | new
        self.twice |= self.once & new
        self.once |= new
        if node in self.excluded:
            self.excluded[node] &= ~pieces
        if node not in self.far:
            self.near |= pieces

    def only_at_one(self, piece: int) -> bool:
        """Whether no two parents hold it."""
        return not self.twice >> piece & 1

    def exclude(self, node: str, pieces: int) -> None:
        """Not these from `node`, until it says again that it holds them."""
        self.excluded[node] = self.excluded.get(node, 0) | pieces

    def recount(self) -> None:
        """Which pieces some parent holds, anew: there are other parents than before."""
        self.near = self.once = self.twice = 0
        for node, held in self.holders.items():
            self.twice |= self.once & held
            self.once |= held
            if node not in self.far:
                self.near |= held

    def review(self) -> bool:
        """Look for pieces that have been with one parent only since the last time. Whether there are some."""
        lonely = self.once & ~self.twice & self.missing
        self.overdue, self._lonely = lonely & self._lonely, lonely
        return self.overdue != 0

    def ban(self, node: str) -> None:
        self.banned.add(node)
        self.holders.pop(node, None)
        self.recount()

    def sent(self, request: Request) -> None:
        self.requests.setdefault(request.piece, []).append(request)
        self.flying |= 1 << request.piece
        self.spare += request.spare

    def answered(self, request: Request) -> None:
        """One of the piece's requests ended; the piece is free again unless another is still out."""
        self.spare -= request.spare
        others = [other for other in self.requests.get(request.piece, ()) if other is not request]
        if others:
            self.requests[request.piece] = others
        else:
            self.requests.pop(request.piece, None)
            self.flying &= ~(1 << request.piece)

    def restart(self, now: float) -> None:
        """Nothing that was here counts any more. Requests still out are answered to nobody."""
        self.have = self.flying = self.verifying = self.leased = self.out_of_reach = self.overdue = self._lonely = 0
        self.requests.clear()
        self.spare = self.asked = 0
        self.excluded.clear()
        self.banned.clear()
        for node in self.holders:
            self.holders[node] = 0
        self.recount()
        self.restart_digests()
        self.progressed = now
        self.told_complete = False


def _first(pieces: int) -> int:
    """Of a non-empty bitmap."""
    return (pieces & -pieces).bit_length() - 1
