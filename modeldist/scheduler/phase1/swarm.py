"""One shard task in the control plane: its members, what they hold, and the piece digests that are known."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from modeldist.artifact import Digest
from modeldist.scheduler.messages import Location, PieceDigest, Priority
from modeldist.scheduler.phase1.line import Line
from modeldist.scheduler.phase1.trees import Trees
from modeldist.scheduler.pieces import PieceLayout, proves_itself, stripe

BLAKE3_BYTES = 32
_MOST_RUNS = 64  # that a member may wait for at a time
_MOST_AWAITING = 8  # members whose readers are looked at for each lease
_MOST_UNRACKED = 64  # each change of the group is told to all of it


class NodeSet:
    """A set of node ids that can be sampled in constant time."""

    def __init__(self) -> None:
        self._items: list[str] = []
        self._index: dict[str, int] = {}

    def add(self, node: str) -> None:
        if node not in self._index:
            self._index[node] = len(self._items)
            self._items.append(node)

    def discard(self, node: str) -> None:
        index = self._index.pop(node, None)
        if index is None:
            return
        last = self._items.pop()
        if last != node:
            self._items[index] = last
            self._index[last] = index

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, node: str) -> bool:
        return node in self._index

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def index(self, node: str) -> int:
        return self._index[node]

    def sample(self, count: int, rng: random.Random) -> list[str]:
        if count >= len(self._items):
            return list(self._items)
        return rng.sample(self._items, count)


@dataclass(slots=True)
class Member:
    """A node in a swarm. `needs`: bitmap of the pieces it is here for, all of them but for a sparse member; `have` is
    a bitmap too; `brought`: pieces that it held when it joined; `asked`: pieces it would read from the origin; `first`:
    runs of pieces, start and count of each, that somebody there waits for; `granted`, `read`: bytes leased to it and
    verified by it from there; `out_of_reach`: bitmap of what others hold and do not serve to it; `taken_back`: bitmap
    of what it was to read and was too slow with; `parents` as last told."""

    node: str
    location: Location
    wants: bool
    seed: bool
    priority: Priority
    joined: float
    needs: int = 0
    have: int = 0
    asked: int = 0
    first: tuple[tuple[int, int], ...] = ()
    out_of_reach: int = 0
    read: int = 0
    brought: int = 0
    taken_back: int = 0
    parents: tuple[str, ...] = ()
    children: dict[str, None] = field(default_factory=dict)
    told: float = float("-inf")
    rejections: int = 0
    completed: float = float("inf")
    reset_at: float = float("-inf")
    resetting: bool = False  # was told to start again; what it says until it asks for leases is of before
    sparse: bool = False  # it needs some pieces only
    proves: bool = False  # it has its own artifact's chunk table, which cuts the shard as the swarm does
    stranded: int = 0  # what it lacked, somebody held, and no parent of its held, when that was looked at last

    @property
    def complete(self) -> bool:
        """It has all that it needs."""
        return not self.needs & ~self.have

    @property
    def lacks(self) -> int:
        return self.needs & ~self.have

    @property
    def brings(self) -> int:
        """What others may have from it, now or later."""
        return self.needs | self.have


@dataclass(slots=True)
class Swarm:
    """Bitmaps as integers. `needed`, `held`: by any member; `leased`: being read from the origin; `out_of_reach`: held,
    but not served to some member; `known`: digest known;
    `proven`: digest told by a node that read the piece under a lease, not merely brought along at join.

    `reader`: after the shard's digest proved some piece digest false, the one node that reads and tells digests, so
    that what it finds depends on nobody else ("": anyone); until `reader_until`, which grows as it reads."""

    task: Digest
    origin: str
    layout: PieceLayout
    members: dict[str, Member] = field(default_factory=dict)
    racks: dict[str, NodeSet] = field(default_factory=dict)  # serving members by rack
    zones: dict[str, NodeSet] = field(default_factory=dict)
    serving: NodeSet = field(default_factory=NodeSet)
    # members that still want all of it, by rack ("" unknown)
    fetching: dict[str, NodeSet] = field(default_factory=dict)
    sparse: NodeSet = field(default_factory=NodeSet)  # members that need some pieces only, content ones included
    needed: int = 0
    held: int = 0
    leased: int = 0
    out_of_reach: int = 0
    known: int = 0
    proven: int = 0
    digests: dict[int, bytes] = field(default_factory=dict)
    unpublished: dict[int, bytes] = field(default_factory=dict)
    unpublished_near: dict[int, bytes] = field(default_factory=dict)
    published: float = float("-inf")
    published_near: float = float("-inf")
    trees: Trees | Line | None = None
    lined: float = float("-inf")  # when it was looked at whether it could be a line
    covered: float = float("-inf")
    uncovered: list[str] = field(default_factory=list)  # members of this round that are still to be looked at
    planned: float = float("-inf")
    judged: float = float("-inf")
    # (node, parent it was found behind with; "" where it serves slowly) -> times in a row
    suspects: dict[tuple[str, str], int] = field(default_factory=dict)
    dark_since: float | None = None  # since when some pieces are held with no digest known
    dark_noted: float | None = None  # the `dark_since` that the lease desk has set a timer for
    unproven: int = 0  # pieces that were held with no digest known for too long, when that was looked at last
    hold_until: float = float("-inf")
    reader: str = ""
    reader_until: float = float("-inf")
    reader_noted: float = float("-inf")  # the `reader_until` that the lease desk has set a timer for
    askers: int = 0  # members that wait for a lease
    awaiting: dict[str, None] = field(default_factory=dict)  # members on which somebody waits for pieces
    parked: dict[str, None] = field(default_factory=dict)  # ask for leases, but there was nothing to lease
    origin_bytes: int = 0
    shown: bool = False  # it was looked at which members are slow
    resets: int = 0
    table: dict[int, bytes] = field(default_factory=dict)  # from the artifact's chunk table, if that cuts it so
    all: int = field(init=False)
    _told: tuple[PieceDigest, ...] | None = None

    def __post_init__(self) -> None:
        self.all = self.layout.all.bits
        self._start_digests()

    def _start_digests(self) -> None:
        self.known = self.proven = self.all if self.table or proves_itself(self.task, self.layout) else 0
        self.digests.update(self.table)

    # --- members ---------------------------------------------------------------------------------------------------

    def add(self, member: Member, serves: bool) -> None:
        self.members[member.node] = member
        if serves:
            self.serving.add(member.node)
            if member.location.rack:
                self.racks.setdefault(member.location.rack, NodeSet()).add(member.node)
            if member.location.zone:
                self.zones.setdefault(member.location.zone, NodeSet()).add(member.node)
        self.needed |= member.needs
        if member.sparse:
            self.sparse.add(member.node)
        elif member.wants:
            self.fetching.setdefault(member.location.rack, NodeSet()).add(member.node)

    def remove(self, node: str) -> Member:
        member = self.members.pop(node)
        self.awaiting.pop(node, None)
        self.serving.discard(node)
        for group in (self.racks.get(member.location.rack), self.zones.get(member.location.zone)):
            if group is not None:
                group.discard(node)
        if self.trees is not None:
            self.trees.remove(node)
        self.content(member)
        if self.sparse:
            self.sparse.discard(node)
            self.needed = 0
            for other in self.members.values():
                self.needed |= other.needs
        if member.have:
            self.recount()
        return member

    def await_(self, member: Member, runs: tuple[tuple[int, int], ...]) -> None:
        """Somebody on its node waits for these."""
        count = self.layout.count
        member.first = tuple((start, n) for start, n in runs[:_MOST_RUNS] if 0 <= start < count and 0 < n <= count)
        self.awaiting.pop(member.node, None)
        if member.first:
            self.awaiting[member.node] = None

    def content(self, member: Member) -> None:
        """It has all it wanted, or left."""
        self.awaiting.pop(member.node, None)
        member.wants = False
        member.asked = 0
        self.parked.pop(member.node, None)
        if (group := self.fetching.get(member.location.rack)) is not None:
            group.discard(member.node)

    def wants_again(self, member: Member) -> None:
        member.wants = True
        if not member.sparse:
            self.fetching.setdefault(member.location.rack, NodeSet()).add(member.node)

    def wanting(self) -> Iterable[str]:
        return (node for node, member in self.members.items() if member.wants)

    @property
    def wanted(self) -> bool:
        """Whether somebody still wants all of it."""
        return any(len(group) for group in self.fetching.values())

    def share(self, member: Member) -> tuple[int, int]:
        """Which of its rack's pieces this member brings in from other racks: (index, count); (0, 0) all. Members of no
        rack share theirs as if they were in one, where they are few."""
        group = self.sharing(member)
        if group is None or member.node not in group or len(group) < 2:
            return (0, 0)
        return group.index(member.node), len(group)

    def sharing(self, member: Member) -> NodeSet | None:
        """Those who still fetch and share with this member what comes from elsewhere; None: nobody does."""
        if member.sparse:  # it would not bring in what it does not need
            return None
        rack = member.location.rack
        group = self.fetching.get(rack) if self.trees is None else None
        return group if group is not None and (rack or len(group) <= _MOST_UNRACKED) else None

    def readable(self, member: Member) -> int:
        """The pieces that this member may be given to read from the origin: of a striped swarm, its roots' stripes, and
        what was without a digest for too long: those who should read it may hold it, and want nothing."""
        if self.trees is None or self.reader or member.out_of_reach:
            return self.all
        if member.sparse:  # outside the trees: their roots read what it needs, as long as there are some
            return 0 if self.wanted else self.all
        roots = self.trees.roots_at(member.node)
        stripes = sum(stripe(tree, self.trees.fanout, self.layout.count) for tree in roots)
        return stripes | self.unproven & ~self.known

    def note_unproven(self, now: float, digest_grace: float) -> None:
        """Look for pieces that have been without a known digest for too long."""
        overdue = self.dark_since is not None and now >= self.dark_since + digest_grace
        self.unproven = self.held & ~self.known if overdue else 0

    # --- pieces ----------------------------------------------------------------------------------------------------

    def holds(self, member: Member, pieces: int, now: float) -> int:
        """`member` holds exactly `pieces`. Returns those it did not hold before."""
        pieces &= self.all
        new = pieces & ~member.have
        lost = member.have & ~pieces
        member.have = pieces
        if lost:
            self.recount()
        else:
            self.held |= pieces
        self._note_dark(now)
        return new

    def recount(self) -> None:
        held = 0
        for member in self.members.values():
            held |= member.have
            if held == self.all:  # soon, where somebody has it all
                break
        self.held = held

    def _note_dark(self, now: float) -> None:
        if not self.held & ~self.known:
            self.dark_since = None
        elif self.dark_since is None:
            self.dark_since = now

    def only_at(self, member: Member) -> int:
        """Pieces that exist nowhere else."""
        others = 0
        for other in self.members.values():
            if other is not member:
                others |= other.have
        return member.have & ~others

    def cannot_get(self, member: Member, pieces: int) -> None:
        """The member says what is out of its reach."""
        member.out_of_reach = pieces & self.held
        self.out_of_reach |= member.out_of_reach

    def in_reach(self, pieces: int) -> None:
        """There is another copy, to be tried by those who could not get the others before they read for themselves."""
        if pieces & self.out_of_reach:
            self.out_of_reach &= ~pieces
            for member in self.members.values():
                member.out_of_reach &= ~pieces

    def leasable(self, member: Member, now: float, digest_grace: float) -> int:
        """Pieces that the member lacks and that are to be read from the origin: held by nobody, or by nobody whose copy
        others could verify, or by nobody who serves it to this member."""
        pieces = member.needs & ~self.held | member.out_of_reach
        if self.dark_since is not None and now >= self.dark_since + digest_grace:
            pieces |= member.needs & self.held & ~self.known
        return pieces & ~self.leased & ~member.have

    def front(self, member: Member, pieces: int) -> int:
        """Of `pieces`, those to lease to the member next: the first run that somebody waits for, on its node or on
        another, else all of them."""
        for waiting in (member, *islice((self.members[node] for node in self.awaiting), _MOST_AWAITING)):
            for start, count in waiting.first:
                if run := pieces & ((1 << count) - 1) << start:
                    return run
        return pieces

    def may_read(self, node: str, now: float) -> bool:
        """Whether this member may read from the origin, and be believed about what it read."""
        return self.reader in ("", node) or now >= self.reader_until

    # --- digests ---------------------------------------------------------------------------------------------------

    def learn(self, told: Iterable[PieceDigest], may: int, proven: bool, now: float) -> None:
        """Digests of pieces in the bitmap `may`. Proven ones replace those brought along; else the first counts."""
        news = may & ~(self.proven if proven else self.known)
        for digest in told if news else ():
            piece = digest.piece
            if piece < 0 or not news >> piece & 1 or len(digest.blake3) != BLAKE3_BYTES:
                continue
            bit = 1 << piece
            news ^= bit
            self.known |= bit
            if proven:
                self.proven |= bit
            if self.digests.get(piece) != digest.blake3:
                self.digests[piece] = self.unpublished[piece] = self.unpublished_near[piece] = digest.blake3
                self._told = None
        self._note_dark(now)

    def trust(self, table: dict[int, bytes]) -> None:
        """Digests of all pieces from the artifact's chunk table. They replace what nodes said."""
        if self.table or len(table) != self.layout.count:
            return
        news = {piece: digest for piece, digest in table.items() if self.digests.get(piece) != digest}
        self.table = table
        self.digests.update(news)
        self.unpublished.update(news)
        self.unpublished_near.update(news)
        self.known = self.proven = self.all
        self.dark_since = None
        self._told = None

    def contradicts(self, told: Iterable[PieceDigest], read: int) -> bool:
        """Whether a node read something else from the origin (`read` is a bitmap) than the chunk table says."""
        return bool(self.table) and any(
            0 <= digest.piece < self.layout.count
            and read >> digest.piece & 1
            and self.table.get(digest.piece) != digest.blake3
            for digest in told
        )

    def distrust(self) -> None:
        """The chunk table is not one of this shard."""
        self.table = {}
        self.forget_digests()

    def known_digests(self) -> tuple[PieceDigest, ...]:
        """All of them, as messages carry them."""
        if self._told is None:
            self._told = tuple(PieceDigest(piece, digest) for piece, digest in self.digests.items())
        return self._told

    def forget_digests(self) -> None:
        self.digests.clear()
        self._told = None
        self.unpublished.clear()
        self.unpublished_near.clear()
        self._start_digests()
