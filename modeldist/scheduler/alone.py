"""Origin leases where there is one node and never will be another: phase 1 of embedded mode.

Nobody competes for the origin and nobody waits for a piece, so everything is granted when it is asked for; how many
leases are read at a time is the node's own business, and how long it tries its reader's.
"""

from __future__ import annotations

from modeldist.artifact import Digest, ShardChunks
from modeldist.scheduler.messages import (
    Event,
    JoinTasks,
    LeaseFailed,
    LeaseGranted,
    LeaseRequest,
    LeaveTasks,
    Location,
    TaskJoin,
    TaskJoined,
    Told,
)
from modeldist.scheduler.pieces import MIB, PieceLayout, PieceSet, piece_size_for

LEAST, MOST = 16 * MIB, 64 * MIB
"""Bytes of a lease, but for the rest of a shard. The most keeps what is read close together, so that the digest of the
whole follows from the page cache; the least is worth a request."""
_SHARE = 8
_STREAMS = 4
_MOST_LEASES = 2048  # of one shard


class _Task:
    """`wanted`: bitmap of the pieces to get; `taken`: of those that are held or leased. `leases`: start and count of
    each."""

    def __init__(self, join: TaskJoin) -> None:
        self.layout = PieceLayout(join.size, join.piece_size or piece_size_for(join.size))
        self.wanted = PieceSet.from_bytes(join.only).bits & self.layout.all.bits or self.layout.all.bits
        self.taken = PieceSet.from_bytes(join.have).bits
        self.leases = {held.lease: (held.start, held.count) for held in join.leases}
        for start, count in self.leases.values():
            self.taken |= PieceSet.span(start, count).bits

    @property
    def left(self) -> int:
        """Pieces that nobody holds or reads."""
        return self.wanted & ~self.taken

    def next_run(self, first: tuple[tuple[int, int], ...], most: int) -> tuple[int, int] | None:
        """The first pieces that nobody holds or reads, `most` at most; before others those in the runs `first`."""
        if not (left := self.left):
            return None
        awaited = (left & ((1 << count) - 1) << start for start, count in first if start >= 0 < count)
        left = next((run for run in awaited if run), left)
        start = (left & -left).bit_length() - 1
        gap = ~(left >> start)
        return start, min((gap & -gap).bit_length() - 1, most)

    def usual(self) -> int:
        """Pieces of a lease: an eighth of the rest, so that all streams end together and the digest, which needs the
        pieces in order, is close behind the last one."""
        most = max(MOST, self.layout.size // _MOST_LEASES)
        size = min(max(self.layout.bytes_of(PieceSet(self.left)) // _SHARE, LEAST), most)
        return max(1, size // self.layout.piece_size)


class Alone:
    """Satisfies `modeldist.control.ports.Scheduler`. Events are those of `Phase1`; what only concerns other nodes
    (reports, rejections) changes nothing: a node that starts a shard again joins again."""

    def __init__(self) -> None:
        self._tasks: dict[Digest, _Task] = {}
        self._last_lease = 0

    def node_joined(self, node: str, address: str, location: Location, now: float, *, measures: bool = False) -> Told:
        return self._forget()

    def node_lost(self, node: str, now: float) -> Told:
        return self._forget()

    def node_left(self, node: str, now: float) -> Told:
        return self._forget()

    def node_away(self, node: str, seconds: float, now: float) -> Told:
        return self._forget()

    def trust(self, chunks: ShardChunks) -> None:
        """Nobody is told digests, as nobody else is here."""

    def tick(self, now: float) -> Told:
        return []

    def handle(self, node: str, event: Event, now: float) -> Told:
        match event:
            case JoinTasks(tasks):
                return [(node, self._join(join)) for join in tasks]
            case LeaseRequest(task, pieces, _, first) if pieces and task in self._tasks:
                return [(node, lease) for lease in self._grant(task, pieces, first)]
            case LeaseFailed(task, lease, unread) if task in self._tasks:
                self._free(self._tasks[task], lease, PieceSet.from_bytes(unread).bits)
            case LeaveTasks(tasks):
                for left in tasks:
                    self._tasks.pop(left, None)
        return []

    def _forget(self) -> Told:
        self._tasks.clear()
        return []

    def _join(self, join: TaskJoin) -> TaskJoined:
        task = self._tasks[join.task] = _Task(join)
        return TaskJoined(join.task, task.layout.piece_size)

    def _grant(self, digest: Digest, pieces: int, first: tuple[tuple[int, int], ...]) -> list[LeaseGranted]:
        """All that is asked for; where that is not all there is, in as many leases as are read at a time."""
        task, granted = self._tasks[digest], []
        share = -(-pieces // _STREAMS) if pieces < task.left.bit_count() else pieces
        while pieces and (run := task.next_run(first, min(share, pieces, task.usual()))):
            self._last_lease += 1
            pieces -= run[1]
            task.taken |= PieceSet.span(*run).bits
            task.leases[self._last_lease] = run
            granted.append(LeaseGranted(digest, self._last_lease, *run))
        return granted

    @staticmethod
    def _free(task: _Task, lease: int, unread: int) -> None:
        """What could not be read is granted when it is asked for again, which takes some seconds."""
        if (run := task.leases.pop(lease, None)) is not None:
            task.taken &= ~(PieceSet.span(*run).bits & unread)
