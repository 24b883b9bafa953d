"""What a node tells phase 1 (events) and what phase 1 tells a node (instructions).

These are the session's messages as they cross the wire: msgpack, tagged unions. `task` is the shard's digest. Bitmaps
are `PieceSet.to_bytes()`. Times are seconds, sizes bytes, rates bytes per second.
"""

from __future__ import annotations

from enum import IntEnum

import msgspec

from modeldist.artifact import Digest
from modeldist.uploads import Uploads


class Priority(IntEnum):
    """Between tasks that compete for the same links; lower goes first."""

    SERVING = 0
    PULL = 1
    PREFETCH = 2


class Message(msgspec.Struct, frozen=True, tag_field="t", omit_defaults=True):
    """Base of everything that crosses the session."""


class PieceDigest(msgspec.Struct, frozen=True, array_like=True):
    """BLAKE3 (32 bytes) of one piece, as computed by the node that read it from the origin."""

    piece: int
    blake3: bytes


class Load(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a node measured over its last report interval. None: it could not be measured."""

    nic_rx: float | None = None
    nic_tx: float | None = None
    nic_speed: float | None = None  # line rate, bytes/s
    bytes_in_flight: int = 0
    queue: int = 0  # piece requests waiting in the piece server
    disk_busy: float | None = None  # 0..1
    cpu_busy: float | None = None  # 0..1
    uploads: Uploads | None = None  # where they have a limit


class Location(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a node sits. Empty strings mean unknown, and unknown is near nobody."""

    rack: str = ""
    zone: str = ""


# --- events: node -> phase 1 ---------------------------------------------------------------------------------------


class HeldLease(msgspec.Struct, frozen=True, array_like=True):
    """An origin lease that a node was granted in an earlier session and goes on reading; fields as in LeaseGranted."""

    lease: int
    start: int
    count: int
    after: int = 0


class TaskJoin(msgspec.Struct, frozen=True, omit_defaults=True):
    """One shard task a node wants (or already holds: `have` full). `origin` names the origin's budget (its host)."""

    task: Digest
    size: int
    origin: str
    have: bytes = b""
    digests: tuple[PieceDigest, ...] = ()  # piece digests this node knows; trusted only while nobody said otherwise
    piece_size: int = 0  # of a partial file that exists already; 0: none
    seed_only: bool = False  # the node has it all and offers it
    chunks: bool = False  # the node has the shard's chunk table, which cuts it into pieces of `piece_size`
    leases: tuple[HeldLease, ...] = ()  # what it is reading from the origin; said in the first join of a session
    only: bytes = b""  # bitmap of the pieces it wants, cut by `piece_size`; empty: all
    trace: str = ""  # traceparent of the span that its transfers belong to; read by whoever traces


class JoinTasks(Message, frozen=True, tag="join"):
    """Open or join shard tasks. Answered by TaskJoined per task, then Parents and LeaseGranted as they come.

    In a new session a node first joins everything it fetches or offers; its first Report says that this is all.
    """

    tasks: tuple[TaskJoin, ...]
    priority: Priority = Priority.PULL


class LeaveTasks(Message, frozen=True, tag="leave"):
    """The node stops fetching and serving these. Its leases on them are re-granted."""

    tasks: tuple[Digest, ...]


class ParentReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a parent served this child since the last report."""

    node: str
    bytes: int = 0
    seconds: float = 0.0  # time at least one request to it was outstanding
    failures: int = 0
    busy: int = 0


class TaskReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """What changed on one task since the last report."""

    task: Digest
    have: bytes | None = None  # the whole bitmap, when it changed; empty: nothing is held any more
    # pieces read from the origin under a lease, and others whose digest did not go over this session yet
    verified: tuple[PieceDigest, ...] = ()
    lease_bytes: dict[int, int] = {}  # lease id -> bytes read under it so far (progress keeps it alive)
    parents: tuple[ParentReport, ...] = ()


class Report(Message, frozen=True, tag="report"):
    """Pushed at the interval the control plane asked for, and sooner when pieces read from the origin verified."""

    seq: int
    load: Load = Load()
    tasks: tuple[TaskReport, ...] = ()


class LeaseRequest(Message, frozen=True, tag="lease?"):
    """The node could read up to `pieces` more pieces of this task from the origin. Replaces an earlier request.

    `out_of_reach`: bitmap of pieces that others hold and this node cannot get from them: of the parents it was named
    none can be reached, or serves it, or serves what is right. Better read twice than never.
    `first`: runs of pieces, start and count of each, that somebody on the node waits for, in order: they are granted
    before others, and the node's other tasks wait.
    """

    task: Digest
    pieces: int
    out_of_reach: bytes = b""
    first: tuple[tuple[int, int], ...] = ()


class LeaseFailed(Message, frozen=True, tag="lease_failed"):
    """The node could not read the rest of a lease (`unread` is a bitmap). It may be granted to another."""

    task: Digest
    lease: int
    unread: bytes
    reason: str


class ShardRejected(Message, frozen=True, tag="shard_rejected"):
    """All pieces matched their piece digests, yet the shard's own digest did not: no piece digest can be trusted."""

    task: Digest


class Behind(Message, frozen=True, tag="behind"):
    """In a line, this node falls behind `node`, the one before it: for a while it received far less than that one."""

    task: Digest
    node: str


class Measured(Message, frozen=True, tag="measured"):
    """The answer to Measure: bytes/s that came from the other node. None: nothing can be said of the link between them,
    because it did not serve, or because this node is busy."""

    number: int
    rate: float | None = None


# --- instructions: phase 1 -> node ---------------------------------------------------------------------------------


class TaskJoined(Message, frozen=True, tag="joined"):
    """The task as the swarm cuts it. `capability` opens it at other nodes' piece servers (empty: not needed)."""

    task: Digest
    piece_size: int
    capability: bytes = b""
    chunks: bool = False  # the control plane has the shard's chunk table: nobody has to tell it digests


class TaskRefused(Message, frozen=True, tag="join_refused"):
    """The node is not let into the task: the others fetch the shard as one of `size` bytes. Or, with `retry_after`, not
    yet: there is no room for it, and it is to join again in so many seconds."""

    task: Digest
    size: int
    retry_after: float | None = None


class Parent(msgspec.Struct, frozen=True, omit_defaults=True):
    """A candidate parent. `have` is what phase 1 last knew; the parent itself says more on subscribing."""

    node: str
    address: str  # host:port of its piece server
    have: bytes = b""
    distance: int = 0  # 0 same rack, 1 same zone, 2 elsewhere or unknown
    stripes: int = 0  # bitmap of the stripes to take from it


class Parents(Message, frozen=True, tag="parents"):
    """The candidates for a task: replaces the earlier list whole.

    `share` = (index, count): of the `count` nodes in this rack that still fetch the task, this one is number `index`
    and brings the pieces with `piece % count == index` into the rack; the others it takes from its rack mates. Nodes of
    unknown racks are counted as if they were in one; they may take anything from anyone, but from a slow parent only
    their share of what nobody else has. (0, 0): take anything from anyone.
    `stripes`: in a large swarm the pieces of stripe `s` (`pieces.stripe_of`) come from the parent with bit `s` in its
    `stripes`, and from others only when that one has failed or is late; a stripe of no parent comes from the origin
    and, what others hold of it already, from anyone. 1: a line, in which everything comes from one
    parent. 0: not striped.
    """

    task: Digest
    parents: tuple[Parent, ...]
    share: tuple[int, int] = (0, 0)
    stripes: int = 0


class LeaseGranted(Message, frozen=True, tag="lease"):
    """This node, and no other, reads pieces [start, start+count) of the task from the origin.

    `after` names an earlier lease of this node: read this one when that one has ended, in its place (the origin's
    budget counts both as one stream). 0: at once.
    """

    task: Digest
    lease: int
    start: int
    count: int
    after: int = 0


class LeaseRevoked(Message, frozen=True, tag="revoke"):
    """The lease expired for lack of progress or its node's absence. Pieces already verified stay valid."""

    task: Digest
    lease: int


class PieceDigests(Message, frozen=True, tag="digests"):
    """Trusted digests of pieces. A piece may be fetched from a peer only once its digest is known."""

    task: Digest
    digests: tuple[PieceDigest, ...]


class TaskReset(Message, frozen=True, tag="reset"):
    """The piece digests of this task were proven wrong: forget pieces and digests and start again."""

    task: Digest
    reason: str


class Measure(Message, frozen=True, tag="measure"):
    """Fetch the link shard (`transfer.link_shard`) from `node` for a moment, keep nothing of it, and say how fast it
    came. Only said to nodes that can, while nothing is fetched."""

    number: int
    node: str
    address: str  # host:port of its piece server
    capability: bytes = b""  # for the link shard


Event = JoinTasks | LeaveTasks | Report | LeaseRequest | LeaseFailed | ShardRejected | Behind | Measured
Instruction = TaskJoined | TaskRefused | Parents | LeaseGranted | LeaseRevoked | PieceDigests | TaskReset | Measure
Told = list[tuple[str, Instruction]]
"""What phase 1 says to which nodes."""
