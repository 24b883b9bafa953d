"""What the engine tells phase 2 (events) and what phase 2 tells the engine (instructions). In one process; never sent.

`task` is the shard's digest, `node` a parent's node id, `piece` an index into the task's layout.
"""

from __future__ import annotations

from msgspec import Struct

from modeldist.artifact import Digest
from modeldist.scheduler.messages import Parent, Priority
from modeldist.scheduler.pieces import PieceLayout, PieceSet

# --- events --------------------------------------------------------------------------------------------------------


SMALL_SHARD = 1 << 20
"""Bytes; leases of shards up to this size are read beside the others, by as many readers."""


class TaskAdded(Struct, frozen=True):
    """Start fetching. `have` is what a partial file already holds, verified. `only`: the pieces that are wanted; none
    of them named: all."""

    task: Digest
    layout: PieceLayout
    have: PieceSet
    priority: Priority = Priority.PULL
    only: PieceSet = PieceSet()


class TaskRemoved(Struct, frozen=True):
    """Stop: complete, failed or cancelled."""

    task: Digest


class ParentsChanged(Struct, frozen=True):
    """Phase 1's candidates, replacing the earlier list. `share` and `stripes` as in `messages.Parents`."""

    task: Digest
    parents: tuple[Parent, ...]
    share: tuple[int, int] = (0, 0)
    stripes: int = 0


class ParentConnected(Struct, frozen=True):
    node: str


class ParentLost(Struct, frozen=True):
    """Could not be reached, or the connection died. Its outstanding pieces are free again."""

    node: str
    reason: str


class ParentHas(Struct, frozen=True):
    """Pieces that `node` holds beyond what it said before."""

    task: Digest
    node: str
    pieces: PieceSet


class DigestsKnown(Struct, frozen=True):
    """These pieces can be verified now, so they may be fetched from peers."""

    task: Digest
    pieces: PieceSet


class LeaseArrived(Struct, frozen=True):
    """Phase 1 granted this node the pieces [start, start+count) to read from the origin, once lease `after` (if any)
    has ended."""

    task: Digest
    lease: int
    start: int
    count: int
    after: int = 0


class LeaseGone(Struct, frozen=True):
    """Revoked by phase 1, or its reader stopped (done, or failed; the engine reports failures to phase 1)."""

    task: Digest
    lease: int


class PieceFetched(Struct, frozen=True):
    """All bytes of a piece came from `node`; `seconds` from request to last byte. Verification follows."""

    task: Digest
    piece: int
    node: str
    bytes: int
    seconds: float


class PieceVerified(Struct, frozen=True):
    """The piece is in the file and right, whoever it came from."""

    task: Digest
    piece: int


class PieceRejected(Struct, frozen=True):
    """What `node` sent does not match the piece's digest."""

    task: Digest
    piece: int
    node: str


class PieceBusy(Struct, frozen=True):
    """`node` asks to come back after `retry_after` seconds."""

    task: Digest
    piece: int
    node: str
    retry_after: float


class PieceRefused(Struct, frozen=True):
    """`node` does not have it after all, or will not serve it."""

    task: Digest
    piece: int
    node: str
    reason: str


class TaskRejoined(Struct, frozen=True):
    """Phase 1 knows the task again after a broken session: what was asked of it before is forgotten there."""

    task: Digest


class TaskRestarted(Struct, frozen=True):
    """All pieces of the task are void (TaskReset): start again from nothing, with no digest known."""

    task: Digest


class Run(Struct, frozen=True):
    """Pieces [start, start+count) of a task."""

    task: Digest
    start: int
    count: int


class Awaited(Struct, frozen=True):
    """Readers wait for these pieces, in this order; they go first, at parents and at the origin. `read`: the tasks of
    models that are read while they come, in the order in which what nobody waits for yet is to come; of these the
    origin is asked for a little at a time. Tasks may be known or not yet. Replaces the earlier order, of all tasks."""

    runs: tuple[Run, ...] = ()
    read: tuple[Digest, ...] = ()


class Tick(Struct, frozen=True):
    """Time passed (every 100-250 ms): retries, hedges, stalls."""


Event = (
    TaskAdded
    | TaskRemoved
    | ParentsChanged
    | ParentConnected
    | ParentLost
    | ParentHas
    | DigestsKnown
    | LeaseArrived
    | LeaseGone
    | PieceFetched
    | PieceVerified
    | PieceRejected
    | PieceBusy
    | PieceRefused
    | TaskRejoined
    | TaskRestarted
    | Awaited
    | Tick
)

# --- instructions --------------------------------------------------------------------------------------------------


class Connect(Struct, frozen=True):
    """Answered by ParentConnected or ParentLost."""

    node: str
    address: str


class Disconnect(Struct, frozen=True):
    """No task has this parent any more, or it stands still: its outstanding requests are void. Not answered."""

    node: str


class Subscribe(Struct, frozen=True):
    """Ask a connected parent what it holds of the task. Answered by ParentHas, again as it grows."""

    task: Digest
    node: str


class Unsubscribe(Struct, frozen=True):
    task: Digest
    node: str


class FetchFromPeer(Struct, frozen=True):
    """Answered by PieceFetched (then PieceVerified or PieceRejected), PieceBusy, PieceRefused or ParentLost.

    `awaited`: others wait to have the piece from this node, since it brings it over the rack's uplink, down a tree, or
    from a slow parent that alone has it, or since not all of a large swarm can go where this node went.
    """

    task: Digest
    piece: int
    node: str
    awaited: bool = False


class ReadLease(Struct, frozen=True):
    """Read the lease's pieces in order from the origin, but not those that are already here. Answered by a
    PieceVerified per piece and one LeaseGone."""

    task: Digest
    lease: int
    start: int
    count: int


class StopLease(Struct, frozen=True):
    """The lease was revoked while its reader runs. Answered by LeaseGone only if the reader was running."""

    task: Digest
    lease: int


class RequestLease(Struct, frozen=True):
    """Tell phase 1 that this node could read up to `pieces` more pieces from the origin (0 withdraws). `out_of_reach`:
    pieces that parents hold and none serves to it. `first`: runs of pieces (start and count) that somebody here waits
    for, in order."""

    task: Digest
    pieces: int
    out_of_reach: PieceSet = PieceSet()
    first: tuple[tuple[int, int], ...] = ()


class TellBehind(Struct, frozen=True):
    """Tell phase 1 that this node, in a line after `node`, falls behind (`Behind`)."""

    task: Digest
    node: str


class TaskComplete(Struct, frozen=True):
    """All pieces that are wanted are verified."""

    task: Digest


Instruction = (
    Connect
    | Disconnect
    | Subscribe
    | Unsubscribe
    | FetchFromPeer
    | ReadLease
    | StopLease
    | RequestLease
    | TellBehind
    | TaskComplete
)
