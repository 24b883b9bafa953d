"""Fetches pieces from parents and checks them. One wake-up of the loop per piece, or for several where they come fast.

On a link that leaves it time the transport hashes a piece as its bytes come, and the thread that received it compares
and takes it in: another thread would cost a wake-up, and read the piece again.

A piece normally lands in its place in the partial file. When somebody else already writes there (a hedge: phase 2 asks
a second parent because the first is late) the second copy lands in a scratch file. Whichever verifies first wins: if
it is the scratch copy, the late parent's connection is cut before the piece is moved into place, so that bytes which
have been verified are never written again.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial as bind

from modeldist.agent.node import Node
from modeldist.agent.parents import Parents
from modeldist.agent.shard_fetch import ShardFetch
from modeldist.agent.store.buffers import blake3_of
from modeldist.agent.store.failures import disk_failure
from modeldist.agent.store.piece_hash import PieceHash
from modeldist.agent.verify import Verifier, check_piece, proves
from modeldist.errors import ModeldistError
from modeldist.scheduler.phase2.messages import (
    Event,
    PieceBusy,
    PieceFetched,
    PieceRefused,
    PieceRejected,
    PieceVerified,
)
from modeldist.transfer.base import Busy, Into, Lost, NotWritten, Outcome, Received, Refused

NO_SCRATCH = 1.0  # seconds until a second copy is thought of again
AT_LEISURE = 64 << 20  # bytes in flight, half a second's worth at 1 Gbit/s: the next request is not waited for


@dataclass(eq=False)
class Request:
    fetch: ShardFetch
    piece: int
    node: str
    length: int
    scratch: int | None  # a file descriptor, when the piece may not be written in place
    left: deque[tuple[int, int]]  # ranges of the shard to ask for yet, one after the other
    along: PieceHash | None  # None where the whole shard's digest proves the piece
    awaited: bool  # by others, from this node
    bytes: int = 0  # of the ranges that came
    seconds: float = 0.0


class PeerFetches:
    """Loop thread only, but for `_outcome`, which transports call from their threads. `fail` ends a shard's fetch."""

    def __init__(
        self,
        node: Node,
        parents: Parents,
        verifier: Verifier,
        clock: Callable[[], float],
        *,
        fail: Callable[[ShardFetch, ModeldistError], None],
    ) -> None:
        self._fail = fail
        self._clock = clock
        self._parents = parents
        self._verifier = verifier
        self._post = node.loop.post
        self._apply = node.apply
        self._intake = node.intake
        self._scratch_dir = node.store.root / "tmp"
        self._moves: set[asyncio.Task[None]] = set()
        self.bytes_in_flight = 0

    def start(self, fetch: ShardFetch, piece: int, node: str, *, awaited: bool) -> None:
        if piece in fetch.partial.have():
            self._apply(PieceVerified(fetch.shard.digest, piece))
            return
        layout = fetch.layout
        start, length = layout.offset(piece), layout.length(piece)
        try:
            scratch = self._scratch() if piece in fetch.writers else None
        except OSError:  # no file for a second copy; the first is on its way
            self._apply(PieceBusy(fetch.shard.digest, piece, node, NO_SCRATCH))
            return
        left = deque(fetch.lacking(piece) if scratch is None else ((start, start + length),))
        whole = left[0] == (start, start + length)
        along = None if fetch.self_proving or not whole else fetch.partial.piece_hash(piece)
        length = sum(stop - first for first, stop in left)
        request = Request(fetch, piece, node, length, scratch, left, along, awaited)
        fetch.hold()
        fetch.tally(node).began(self._clock())
        self.bytes_in_flight += length
        if scratch is None:
            fetch.writers[piece] = node
        if not self._ask(request):
            self._ended(request)

    def _ask(self, request: Request) -> bool:
        """For the next range. False when there is no such connection (any more)."""
        start, stop = request.left.popleft()
        into = Into(request.fetch.partial.fd, start, request.along)
        if request.scratch is not None:
            into = Into(request.scratch, 0, request.along)
        outcome = bind(self._outcome, request)
        return self._parents.fetch(request.node, request.fetch.shard.digest, start, stop - start, into, outcome)

    def _ask_on(self, request: Request) -> None:
        if request.fetch.ended or not self._ask(request):
            self._not_received(request, Lost("the connection is gone"))

    def _scratch(self) -> int:
        handle, name = tempfile.mkstemp(dir=self._scratch_dir)
        os.unlink(name)  # noqa: PTH108 - only the descriptor is kept
        return handle

    # --- transport threads ---

    def _outcome(self, request: Request, outcome: Outcome) -> None:
        if isinstance(outcome, Received):
            request.bytes += outcome.bytes
            request.seconds += outcome.seconds
            if request.left:
                self._post(bind(self._ask_on, request))
                return
            outcome = replace(outcome, bytes=request.bytes, seconds=request.seconds)
            try:
                if outcome.hashed:
                    self._check(request, outcome)
                else:
                    self._verifier.submit(bind(self._check, request, outcome))
                return
            except RuntimeError:  # closing
                outcome = Lost("the agent is stopping")
        self._post(bind(self._not_received, request, outcome))

    def _check(self, request: Request, received: Received) -> None:
        """In the transport's thread when it has hashed the piece, else in a verify thread."""
        try:
            good = self._proven(request, received.hashed)
        except (ModeldistError, OSError) as error:
            self._post(bind(self._not_kept, request, disk_failure(request.fetch.partial.path, error)))
        else:
            at_leisure = self.bytes_in_flight >= AT_LEISURE and request.scratch is None
            self._post(bind(self._checked, request, received, good), at_leisure=at_leisure)

    def _proven(self, request: Request, hashed: bool) -> bytes | None:
        """The piece's digest if it is right; it is journaled then, unless it lies in a scratch file. Raises
        StorageError, OSError."""
        good = self._hash_that_is_right(request) if hashed else self._read_again(request)
        if good is not None and request.scratch is None:
            along = request.along if hashed else None
            request.fetch.partial.add(request.piece, good, along, awaited=request.awaited)
        return good

    @staticmethod
    def _hash_that_is_right(request: Request) -> bytes | None:
        assert request.along is not None
        found = request.along.digest()
        return found if found == request.fetch.trusted.get(request.piece) else None

    @staticmethod
    def _read_again(request: Request) -> bytes | None:
        """Hash what lies in the file."""
        fetch = request.fetch
        expected = fetch.trusted.get(request.piece)
        whole = fetch.shard.digest if fetch.self_proving else None
        if expected is None and whole is None:
            return None
        if request.scratch is None:
            return check_piece(fetch.partial, request.piece, expected, whole)
        if whole is not None and not proves(request.scratch, 0, request.length, whole):
            return None
        found = blake3_of(request.scratch, 0, request.length)
        return found if expected in (None, found) else None

    # --- loop thread ---

    def _not_kept(self, request: Request, error: ModeldistError) -> None:
        """This node's own disk failed: no parent is to blame, and no other would do better."""
        fetch = request.fetch
        self._ended(request)
        if not fetch.ended:
            self._apply(PieceBusy(fetch.shard.digest, request.piece, request.node, 0.0))
            self._fail(fetch, error)

    def _checked(self, request: Request, received: Received, good: bytes | None) -> None:
        fetch, task = request.fetch, request.fetch.shard.digest
        if good is None and request.scratch is None and fetch.holes.pop(request.piece, None) is not None:
            self._ended(request)  # what was here of it may be to blame, not the parent: it is fetched whole
            if not fetch.ended:
                self._apply(PieceBusy(task, request.piece, request.node, 0.0))
            return
        if not fetch.ended:
            self._apply(PieceFetched(task, request.piece, request.node, received.bytes, received.seconds))
        tally = fetch.tally(request.node)
        tally.bytes += received.bytes
        if good is None:
            tally.failures += 1
            self._intake.wrong_pieces += 1
            fetch.note(f"Piece {request.piece} of {fetch.path} from node {request.node} was wrong; fetched again.")
            self._ended(request)
            if not fetch.ended:
                self._apply(PieceRejected(task, request.piece, request.node))
            return
        if received.transport == "rdma":
            fetch.rdma_bytes += received.bytes
            self._intake.rdma += received.bytes
        elif received.detour:
            fetch.note_detour(request.node, received.detour)
        if request.scratch is not None:
            move = asyncio.create_task(self._move_into_place(request, good))
            self._moves.add(move)
            move.add_done_callback(self._moves.discard)
            return
        self._ended(request)
        self._verified(request)

    async def _move_into_place(self, request: Request, good: bytes) -> None:
        fetch, piece = request.fetch, request.piece
        try:
            if late := fetch.writers.get(piece):
                await self._parents.abort(late, f"too late with piece {piece} of {fetch.path}")
                while piece in fetch.writers:  # it may have a block in hand still
                    fetch.written.clear()
                    await fetch.written.wait()
            if piece in fetch.partial.have() or fetch.ended:
                return
            fetch.writers[piece] = request.node
            await asyncio.to_thread(self._copy, request, good)
            fetch.writers.pop(piece, None)
        except (ModeldistError, OSError) as error:
            fetch.writers.pop(piece, None)
            if not fetch.ended:
                self._fail(fetch, disk_failure(fetch.partial.path, error))
            return
        finally:
            self._ended(request)
        self._verified(request)

    @staticmethod
    def _copy(request: Request, good: bytes) -> None:
        assert request.scratch is not None
        partial, done = request.fetch.partial, 0
        offset = partial.layout.offset(request.piece)
        while done < request.length:
            done += os.copy_file_range(request.scratch, partial.fd, request.length - done, done, offset + done)
        partial.add(request.piece, good, awaited=request.awaited)

    def _verified(self, request: Request) -> None:
        fetch = request.fetch
        fetch.peer_bytes[request.node] += request.length
        self._intake.peers += request.length
        self._intake.pieces_peers += 1
        if request.scratch is None:
            self._intake.reused += fetch.mended(request.piece)
        fetch.holes.pop(request.piece, None)
        fetch.arrived(request.piece)
        fetch.origin_failures = 0
        if not fetch.ended:
            self._apply(PieceVerified(fetch.shard.digest, request.piece))

    def _not_received(self, request: Request, outcome: Outcome) -> None:
        if isinstance(outcome, NotWritten):
            self._intake.peer_failures["disk"] += 1
            self._not_kept(request, disk_failure(request.fetch.partial.path, outcome.error))
            return
        fetch, task = request.fetch, request.fetch.shard.digest
        self._ended(request)
        tally = fetch.tally(request.node)
        if isinstance(outcome, Busy):
            self._intake.peer_failures["busy"] += 1
            tally.busy += 1
            event: Event | None = PieceBusy(task, request.piece, request.node, outcome.retry_after)
        elif isinstance(outcome, Refused):
            self._intake.peer_failures["refused"] += 1
            tally.failures += 1
            event = PieceRefused(task, request.piece, request.node, outcome.reason)
        else:
            self._intake.peer_failures["lost"] += 1
            tally.failures += 1
            event = None  # its ParentLost comes once for the connection
        if event is not None and not fetch.ended:
            self._apply(event)

    def _ended(self, request: Request) -> None:
        fetch = request.fetch
        self.bytes_in_flight -= request.length
        fetch.tally(request.node).finished(self._clock())
        if request.scratch is not None:
            os.close(request.scratch)
        elif fetch.writers.get(request.piece) == request.node:
            del fetch.writers[request.piece]
            fetch.written.set()
        fetch.release()
