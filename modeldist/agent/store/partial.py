"""A shard being fetched: one file of full size, a journal of verified pieces, a lock.

Nobody may write into a piece after `add()`; commit() makes `fd` read-only so that a late duplicate cannot either.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from modeldist.agent.store.allocation import Allocation
from modeldist.agent.store.blobs import Blobs
from modeldist.agent.store.buffers import blake3_of, chunks
from modeldist.agent.store.failures import failure, naming
from modeldist.agent.store.follower import Follower
from modeldist.agent.store.homes import Home
from modeldist.agent.store.journal import Header
from modeldist.agent.store.piece_hash import PieceHash
from modeldist.agent.store.recheck import covered, hash_pieces
from modeldist.agent.store.sync_many import sync_all
from modeldist.agent.store.write_behind import WriteBehind
from modeldist.artifact import Digest, algorithm
from modeldist.errors import IntegrityError, ModeldistError, StorageError
from modeldist.explain.waits import waits_for
from modeldist.scheduler.pieces import PieceLayout, PieceSet

OnVerified = Callable[[PieceSet, bool], None]
"""(newly verified pieces, whether others wait to have them from this node)"""


class Partial:
    """Thread-safe. `fd` is open for reading and writing until close(); it is not this class that writes to it.

    `digest` names the shard, `layout` says how it is cut now. `sparse`: some of its pieces are wanted and no more, so
    that nobody needs the digest of the whole until it is `widened`.
    """

    def __init__(
        self,
        digest: Digest,
        *,
        home: Home,
        fd: int,
        layout: PieceLayout,
        follower: Follower,
        blobs: Blobs,
        tell: OnVerified,
        on_close: Callable[[Partial], None],
        committed: Digest | None = None,
        allocation: Allocation | None = None,
        sparse: bool = False,
    ) -> None:
        self.digest = digest
        self.layout = layout
        self.fd = fd
        self._home = home
        self._follower = follower
        self.blobs = blobs
        self._tell = tell
        self._on_close = on_close
        self._allocation = allocation
        self._state = threading.Condition()
        self._readers = 0
        self._have = layout.all if committed else PieceSet()
        self._cut = (layout, self._have)
        self._blake3: dict[int, bytes] = {}
        self._protected: dict[int, bytes] = {}  # pieces that a snapshot shows: they outlive a reset
        self._sparse = sparse
        self._frontier = 0  # pieces before this one are all verified
        self._write_behind = WriteBehind()
        self._committed = committed
        self._proven = committed is not None
        self._proof_watchers: list[Callable[[], None]] = []
        self._committing = threading.Lock()
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def committed(self) -> bool:
        """It is a blob."""
        return self._committed is not None

    @property
    def proven(self) -> bool:
        """The digest of the whole was what it should be, though it may not be a blob yet."""
        return self._proven

    def watch_proof(self, watcher: Callable[[], None]) -> None:
        """Call it, in any thread, once the whole is `proven`."""
        with self._state:
            self._proof_watchers.append(watcher)

    @property
    def path(self) -> Path:
        """The data file."""
        return self._home.path

    @property
    def named(self) -> bool:
        """Whether others can open the data file by its `path`."""
        return self._home.lasts

    # --- what is here ---

    def have(self) -> PieceSet:
        """Verified pieces, now."""
        return self._have

    def cut(self) -> tuple[PieceLayout, PieceSet]:
        """How it is cut, and the verified pieces, of one moment."""
        return self._cut

    def digests(self) -> dict[int, bytes]:
        """BLAKE3 of the verified pieces (read from the file when another process had fetched the shard)."""
        with self._state:
            if len(self._blake3) < len(self._have):
                self._check_open()
                hash_pieces(self.fd, self.layout, self._have, self._blake3.__setitem__)
            return dict(self._blake3)

    def hash_piece(self, piece: int) -> bytes:
        """BLAKE3 of what is in the file now, verified or not. Releases the GIL."""
        with self._reading():
            return blake3_of(self.fd, self.layout.offset(piece), self.layout.length(piece))

    def piece_hash(self, piece: int) -> PieceHash:
        """To be fed the piece as it comes, and given to add()."""
        return PieceHash(self._follower, self.layout.offset(piece))

    def hash_at_once(self) -> tuple[bytes, dict[str, Digest]]:
        """Of a shard of one piece, from one read: its BLAKE3, and the digests by algorithm, which commit() then uses.
        Only where nobody else writes to the file until then; else `distrust()` before commit()."""
        from blake3 import blake3

        whole = bytearray()
        with self._reading():
            for chunk in chunks(self.fd, 0, self.layout.size):
                whole += chunk
            return blake3(whole, max_threads=1).digest(), self._follower.take(memoryview(whole))

    def distrust(self) -> None:
        """Have commit() read a shard of one piece again."""
        if self.layout.count == 1:
            self._follower.rewind(0)

    # --- verified pieces come and go ---

    @waits_for("disk")
    def add(self, piece: int, blake3: bytes, along: PieceHash | None = None, *, awaited: bool = True) -> None:
        """The piece is in the file and its BLAKE3 is what it should be. `along` has seen all of it, as it was written.
        `awaited`: others wait to have it from this node, as from nobody near else. Raises StorageError when it cannot
        be noted."""
        if not 0 <= piece < self.layout.count:
            raise StorageError(f"{self.digest} has {self.layout.count} pieces; there is no piece {piece}.")
        with self._state:
            self._check_open()
            if piece in self._have:
                return
            with naming("note a piece", self.path):
                if self._allocation is not None:
                    self._allocation.check()
                self._home.note(piece, blake3)
            if along is not None:
                along.keep()
            self.include(piece, blake3)
        self._tell(PieceSet.of((piece,)), awaited)
        with suppress(StorageError), self._reading():  # it may be closed by now
            self._write_behind.grown(self.fd, self.layout.length(piece))

    def include(self, piece: int, blake3: bytes) -> None:
        """Take in a piece the journal knows already and whose digest was checked."""
        with self._state:
            self._blake3[piece] = blake3
            self._have = self._have.add(piece)
            self._cut = (self.layout, self._have)
            before = self._frontier
            while self._frontier in self._have:
                self._frontier += 1
            if self._frontier > before:
                self._follow()

    def recut(self, piece_size: int) -> None:
        """Change the piece size; pieces made of nothing but verified ones stay verified, with new digests.

        No piece may be added meanwhile. Watchers are not told: their pieces mean something else now. Raises
        IntegrityError when of a piece that a snapshot shows nothing would be left by which a false one could be told.
        """
        new = PieceLayout(self.layout.size, piece_size)
        with self._state:
            self._check_open()
            if new == self.layout:
                return
            shown = PieceSet.of(self._protected)
            protected = covered(self.layout, shown, new)
            if shown - self.layout.touching(new.ranges(protected)):
                raise IntegrityError(
                    f"Pieces of {self.digest} are here, for another model, that are proven in smaller chunks than it "
                    "is cut into now.",
                    remedy="If other nodes are pulling it, pull again when they have ended; else remove the other "
                    "model (`modeldist ls`, `modeldist rm`) and pull again.",
                )
            kept: dict[int, bytes] = {}
            hash_pieces(self.fd, new, covered(self.layout, self._have, new), kept.__setitem__)
            self._protected = {piece: kept[piece] for piece in protected}
            self._replace(new, kept)

    def reset(self, *, shown: bool = False) -> None:
        """Forget all pieces (not of a committed shard: its content is proven); those that a snapshot shows only if
        `shown`, when nothing else is left that can be wrong."""
        with self._state:
            self._check_open()
            if self._committed is None:
                self._protected = {} if shown else self._protected
                self._replace(self.layout, self._protected)

    def keep_only(self, trusted: Mapping[int, bytes]) -> None:
        """Forget the pieces whose BLAKE3 is not the one in `trusted`. Watchers are not told. Raises IntegrityError when
        a snapshot shows one of them: somebody has proven it otherwise."""
        with self._state:
            self._check_open()
            kept = {piece: blake3 for piece, blake3 in self._blake3.items() if trusted.get(piece) == blake3}
            if self._protected.keys() - kept.keys():
                raise IntegrityError(
                    f"Pieces of {self.digest} are here that another chunk table proves otherwise than this one.",
                    remedy="One of two models has a false chunk table: if you trust this one, remove the other "
                    "(`modeldist ls`, `modeldist rm`) and pull again.",
                )
            if len(kept) < len(self._blake3):
                self._replace(self.layout, kept)

    def protect(self, pieces: PieceSet) -> None:
        """A snapshot shows these, as far as they are here."""
        with self._state:
            self._protected = {piece: blake3 for piece, blake3 in self._blake3.items() if piece in pieces}

    def widen(self) -> None:
        """All of it is wanted after all."""
        with self._state:
            self._sparse = False
            self._follow()

    def _replace(self, layout: PieceLayout, pieces: dict[int, bytes]) -> None:
        if self._committed is None:
            with naming("rewrite the journal", self.path):
                self._home.rewrite(Header(self.digest, layout.size, layout.piece_size), pieces)
        self.layout = layout
        self._have = PieceSet.of(pieces)
        self._cut = (layout, self._have)
        self._blake3 = dict(pieces)
        self._frontier = 0
        while self._frontier in self._have:
            self._frontier += 1
        self._follower.rewind(self._verified_prefix())
        self._follow()

    def _verified_prefix(self) -> int:
        """Bytes before this offset are all verified."""
        return min(self.layout.size, self.layout.offset(self._frontier))

    def _follow(self) -> None:
        """Have the prefix hashed in the background; a single piece is quicker hashed by commit() itself."""
        if self.layout.count > 1 and self._committed is None and not self._sparse:
            self._follower.advance(self._verified_prefix())

    # --- how it ends ---

    @waits_for("disk")
    def settle(self) -> None:
        """What is here is all that is wanted, and proven for good: make it survive a crash of the machine, for a
        snapshot to show. close() is still due. Raises StorageError."""
        with self._reading(), naming("finish a shard", self.path):
            os.fdatasync(self.fd)
            with self._state:
                self._home.settle((self.layout.piece_size, self._have))

    def commit(self) -> Digest:
        """All pieces are there: prove the whole, make it a blob and return its sha256 digest.

        Afterwards `fd` can only be read and the shard is no longer locked; close() is still due. Raises
        IntegrityError when the content is not what the digest says (all pieces are forgotten then), StorageError.
        """
        for outcome in commit_all((self,)):
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome
        raise AssertionError("one shard, one outcome")

    def committing(self, *, read_only: bool = True) -> Generator[int, OSError | None, Digest]:
        """commit() in two halves: yields `fd` once the whole is proven, wants to hear of its sync, and publishes. The
        second half runs under the blobs' gate. `read_only`: make `fd` so."""
        with self._committing, self._reading():
            if self._committed is None:
                if self._have != self.layout.all:
                    missing = self.layout.count - len(self._have)
                    raise StorageError(f"{self.digest} lacks {missing} of {self.layout.count} pieces.")
                with naming("finish a shard", self.path):
                    found = self._prove(read_only=read_only)
                    self._proven = True
                    with self._state:
                        watchers = tuple(self._proof_watchers)
                    for watcher in watchers:
                        watcher()
                    if (failed := (yield self.fd)) is not None:
                        raise failed
                    self._home.adopt(self.blobs, self.fd, found["sha256"], {*found.values(), self.digest})
                self._committed = found["sha256"]
            return self._committed

    def _prove(self, *, read_only: bool) -> dict[str, Digest]:
        """The digests by algorithm."""
        self._stop_allocating()
        if read_only:
            self._reopen(os.O_RDONLY)
        found = self._follower.finish()
        actual = found.get(algorithm(self.digest), self.digest)  # an etag proves nothing
        if actual != self.digest:
            if read_only:
                self._reopen(os.O_RDWR)
            self.reset()
            raise IntegrityError(
                f"The content fetched for {self.digest} is {actual}.",
                remedy="Pull again; if it repeats, the origin or a peer holds a damaged copy.",
            )
        return found

    def close(self) -> None:
        """Keep what is verified for the next begin(), where its home lasts; without such pieces it is discarded."""
        with self._state:
            keep = bool(self._have) and self._home.lasts
        self._end(keep=keep)

    def discard(self) -> None:
        """Remove it."""
        self._end(keep=False)

    def _end(self, *, keep: bool) -> None:
        with self._state:
            if self._closed:
                return
            self._closed = True
            self._follower.give_up()  # a commit() in another thread ends soon, then
            self._state.wait_for(lambda: self._readers == 0)
        self._follower.stop()
        self._stop_allocating()
        self._on_close(self)
        try:
            if self._committed is None and not keep:
                self._home.leave()
        finally:
            self._home.close()
            os.close(self.fd)

    def _stop_allocating(self) -> None:
        if self._allocation is not None:
            self._allocation.stop()
            self._allocation = None

    def _reopen(self, how: int) -> None:
        """Reopen the file behind the same descriptor number."""
        fd = self._home.reopen(self.fd, how)
        os.dup2(fd, self.fd, inheritable=False)
        os.close(fd)

    def duplicate(self) -> int:
        """A descriptor of its own for a reader that may outlive this object."""
        with self._reading():
            return os.dup(self.fd)

    @property
    def closed(self) -> bool:
        return self._closed

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._state:
            self._check_open()
            self._readers += 1
        try:
            yield
        finally:
            with self._state:
                self._readers -= 1
                self._state.notify_all()

    def _check_open(self) -> None:
        if self._closed:
            raise StorageError(f"{self.digest} is no longer open here.")


@waits_for("disk")
def commit_all(partials: Sequence[Partial], *, read_only: bool = True) -> list[Digest | ModeldistError | OSError]:
    """commit() of several, which wait for the disk once: what it gave or raised, for each. Without `read_only` nobody
    must have their `fd` any more, and close() has to follow."""
    outcomes: dict[int, Digest | ModeldistError | OSError] = {}
    proven: list[tuple[int, Generator[int, OSError | None, Digest], int]] = []

    def go_on(index: int, steps: Generator[int, OSError | None, Digest], synced: OSError | None) -> int | None:
        try:
            return steps.send(synced)
        except StopIteration as end:
            outcomes[index] = end.value
        except (ModeldistError, OSError) as error:
            outcomes[index] = error
        return None

    with ExitStack() as stack:
        for index, partial in enumerate(partials):
            steps = partial.committing(read_only=read_only)
            stack.callback(steps.close)
            if (fd := go_on(index, steps, None)) is not None:
                proven.append((index, steps, fd))
        synced = sync_all([fd for _, _, fd in proven])
        if proven:
            try:
                gate = partials[0].blobs.gate()  # the collector must not meet an alias before its blob
            except OSError as error:
                outcomes |= {index: failure(error, "finish a shard", partials[index].path) for index, _, _ in proven}
            else:
                with gate:
                    for (index, steps, _), failed in zip(proven, synced, strict=True):
                        go_on(index, steps, failed)
    return [outcomes[index] for index in range(len(partials))]
