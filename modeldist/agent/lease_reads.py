"""Origin leases as the engine sees them: start a read, take in its pieces, say how it ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial as bind

from modeldist.agent.node import Node
from modeldist.agent.origin_reads import LeaseCallbacks, LeaseRead, OriginReads
from modeldist.agent.parents import Parents
from modeldist.agent.reader_pool import ReaderPool
from modeldist.agent.shard_fetch import ShardFetch
from modeldist.agent.verify import Verifier, check_piece
from modeldist.agent.whole_reads import wrong_at_the_origin
from modeldist.artifact import Digest
from modeldist.errors import (
    IntegrityError,
    ModeldistError,
    OriginProtocolError,
    OriginUnavailable,
    RateLimited,
)
from modeldist.logger import Logger
from modeldist.scheduler.messages import LeaseFailed, PieceDigest
from modeldist.scheduler.phase2.messages import LeaseGone, ParentLost, PieceVerified
from modeldist.scheduler.pieces import PieceSet
from modeldist.transfer.rate_limit import RateLimit

log = Logger(__name__)

TRANSIENT = (OriginUnavailable, RateLimited, OriginProtocolError)
"""Worth another lease, here or at another node; everything else ends the pull with the origin's own words."""


class LeaseReads:
    """`fail` ends a shard's fetch; `report_soon` asks for a report before its time; `at_rest`: this node reads nothing
    until it is granted more."""

    def __init__(
        self,
        node: Node,
        readers: ReaderPool,
        verifier: Verifier,
        parents: Parents,
        rate: RateLimit,
        *,
        fail: Callable[[ShardFetch, ModeldistError], None],
        report_soon: Callable[[], None],
        at_rest: Callable[[], None],
    ) -> None:
        self._node = node
        self._parents = parents
        self._fail = fail
        self._report_soon = report_soon
        self._at_rest = at_rest
        callbacks = LeaseCallbacks(on_piece=self._piece, on_end=self._end)
        self._reads = OriginReads(
            readers,
            verifier,
            node.config.origin_streams,
            callbacks,
            enough=node.config.one_stream_enough,
            rate=rate,
        )

    def start(self, fetch: ShardFetch, lease: int, start: int, count: int) -> None:
        pieces = PieceSet.span(start, count) - fetch.partial.have()
        for parent in {fetch.writers[piece] for piece in pieces if piece in fetch.writers}:
            # Nobody else may write where the lease's reader will.
            self._parents.disconnect(parent)
            self._node.apply(ParentLost(parent, "its piece is now read from the origin"))
        fetch.hold()
        fetch.reads.add(self._reads.start(fetch, lease, pieces))

    def tick(self) -> None:
        """A tenth of a second or so has passed."""
        self._reads.tick()

    def stop(self, task: Digest, lease: int) -> None:
        self._reads.stop(task, lease)

    def stop_task(self, task: Digest) -> None:
        self._reads.stop_task(task)

    def progress(self) -> dict[Digest, dict[int, int]]:
        """task -> lease -> bytes read so far."""
        return self._reads.progress()

    @property
    def running(self) -> list[LeaseRead]:
        """Being read, or waiting for a thread."""
        return self._reads.running

    @property
    def idle(self) -> bool:
        """Nothing is being read."""
        return self._reads.idle

    @property
    def bytes_read(self) -> int:
        """Until now."""
        return self._reads.bytes_read

    def close(self) -> None:
        """Blocks until the reading threads have stopped."""
        self._reads.close()

    # --- reading and hashing threads ---

    def _piece(self, read: LeaseRead, piece: int) -> None:
        fetch = read.fetch
        whole = fetch.shard.digest if fetch.self_proving else None
        found = check_piece(fetch.partial, piece, fetch.expected(piece), whole)
        if found is None:
            if fetch.holes.pop(piece, None) is None:
                read.error = wrong_piece(fetch, piece)
            else:  # what was here of it may be to blame: it is read whole
                read.again.add(piece)
            return
        fetch.partial.add(piece, found)
        if read.small:
            read.proven.append(PieceDigest(piece, found))
        else:
            self._node.loop.post(bind(self._verified, fetch, piece, found))

    def _end(self, reads: Sequence[LeaseRead]) -> None:
        self._node.loop.post(bind(self._all_ended, reads))

    # --- loop thread ---

    def _verified(self, fetch: ShardFetch, piece: int, digest: bytes) -> None:
        if fetch.ended:
            return
        fetch.origin_failures = 0
        self._node.intake.reused += fetch.mended(piece)
        self._node.intake.pieces_origin += 1
        fetch.trusted[piece] = digest
        fetch.verified.append(PieceDigest(piece, digest))
        fetch.have_changed = True
        self._report_soon()
        self._node.apply(PieceVerified(fetch.shard.digest, piece))

    def _all_ended(self, reads: Sequence[LeaseRead]) -> None:
        for read in reads:
            for proven in read.proven:
                self._verified(read.fetch, proven.piece, proven.blake3)
            self._ended(read)

    def _ended(self, read: LeaseRead) -> None:
        fetch, task = read.fetch, read.fetch.shard.digest
        self._reads.ended(read)
        if self._reads.idle:
            self._at_rest()
        fetch.reads.discard(read)
        fetch.origin_bytes += read.bytes
        self._node.intake.origin += read.bytes
        fetch.release()
        if fetch.ended:
            return
        if unread := read.pieces - fetch.partial.have():
            reason = str(read.error or "stopped")
            self._node.tell(LeaseFailed(task, read.lease, unread.to_bytes(), reason))
        if fetch.joined:
            self._node.apply(LeaseGone(task, read.lease))
        if read.error is not None:
            self._failed(fetch, read.error)
        elif read.stopped and read.waiting and not read.bytes and fetch.joined:
            # Taken back while its reader waited: the reader never came to say what it met.
            self._failed(fetch, unanswered(fetch))

    def _failed(self, fetch: ShardFetch, error: ModeldistError) -> None:
        fetch.note(f"Reading from the origin failed: {error}")
        fetch.origin_failures += 1
        self._node.intake.origin_failures[error.code] += 1
        log.warning("origin read failed", error=str(error), failures=fetch.origin_failures, **fetch.facts)
        if not isinstance(error, TRANSIENT) or fetch.origin_failures >= self._node.config.origin_failures:
            self._fail(fetch, error.about(fetch.path))


def wrong_piece(fetch: ShardFetch, piece: int) -> IntegrityError:
    """What an origin sent is not what the artifact says it has."""
    if fetch.self_proving:
        return wrong_at_the_origin(fetch.path, fetch.artifact, fetch.shard)
    start = fetch.layout.offset(piece)
    return IntegrityError(
        f"{fetch.path} of {fetch.artifact.name}: bytes {start} to {start + fetch.layout.length(piece)} that the origin "
        f"sent of {fetch.shard.digest} are not those of the model's chunk table.",
        remedy="They were refused. The origin's copy is damaged or was replaced; push it again.",
    )


def unanswered(fetch: ShardFetch) -> OriginUnavailable:
    """A lease that ran out before the origin gave anything."""
    return OriginUnavailable(
        f"{fetch.artifact.endpoint} gave nothing of {fetch.path} for the life of a lease.",
        remedy="Check that the origin is there and answers; pull again to resume.",
    )
