"""Reads leased pieces from the origin, each lease in a thread of its own, verified as it goes."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from modeldist.agent.reader_pool import ReaderPool
from modeldist.agent.shard_fetch import ShardFetch
from modeldist.agent.small_reads import SmallReads
from modeldist.agent.store.failures import disk_failure
from modeldist.agent.verify import Verifier
from modeldist.artifact import Digest, united
from modeldist.errors import ModeldistError
from modeldist.explain.waits import waits_for
from modeldist.origins.base import RangeReader
from modeldist.scheduler.messages import PieceDigest
from modeldist.scheduler.phase2.messages import SMALL_SHARD
from modeldist.scheduler.pieces import PieceSet
from modeldist.transfer.rate_limit import RateLimit, sit_out

_CHECKED_AT_ONCE = 64 << 10  # bytes of a piece that are hashed sooner than handed to another thread
_LAST_BLOCK = 0.002  # seconds between two looks whether a parent that was cut off has written its last
_LOOKED_AT = 0.05  # seconds of one stream that tell how fast it is


class _Stopped(Exception):
    """The lease was revoked while being read."""


@dataclass(eq=False)
class LeaseRead:
    """One lease being read. `bytes` grows in the reading thread and is only looked at elsewhere."""

    fetch: ShardFetch
    lease: int
    pieces: PieceSet
    bytes: int = 0
    stopped: bool = False
    waiting: bool = False  # for bytes, or to try again
    error: ModeldistError | None = None
    thread: int = 0  # that reads it
    small: bool = False  # told of with others at its end, its pieces too
    proven: list[PieceDigest] = field(default_factory=list)  # of a small one
    checks: list[Future[None]] = field(default_factory=list)
    again: set[int] = field(default_factory=set)  # pieces that were wrong with what was here of them


@dataclass(frozen=True)
class LeaseCallbacks:
    """Called from reading and hashing threads."""

    on_piece: Callable[[LeaseRead, int], None]  # all bytes of a piece are in the file; runs in a verify thread
    on_end: Callable[[Sequence[LeaseRead]], None]


class OriginReads:
    """Runs lease reads on `streams` threads, and up to as many for those of small shards.

    `enough`: bytes/s of a stream beside which no other is opened. From there on it is this machine that is busy, not
    the link: several streams wait for the lock of one file, and bring its bytes out of the order that its digest needs.
    """

    def __init__(
        self,
        readers: ReaderPool,
        verifier: Verifier,
        streams: int,
        callbacks: LeaseCallbacks,
        *,
        enough: float | None = None,
        rate: RateLimit | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._readers = readers
        self._verifier = verifier
        self._callbacks = callbacks
        self._pool = ThreadPoolExecutor(2 * streams, thread_name_prefix="origin")
        self._lock = threading.Lock()
        self._running: dict[tuple[Digest, int], LeaseRead] = {}
        self._bytes_ended = 0
        self._enough = enough
        self._rate = rate or RateLimit(None, clock)
        self._clock = clock
        self._one: LeaseRead | None = None  # whose speed decides about the others
        self._one_since = 0.0
        self._held_back: deque[LeaseRead] = deque()
        self._small = SmallReads(self._pool, streams, self._read, callbacks.on_end, clock)

    def start(self, fetch: ShardFetch, lease: int, pieces: PieceSet) -> LeaseRead:
        read = LeaseRead(fetch, lease, pieces, small=fetch.shard.size <= SMALL_SHARD)
        self._running[(fetch.shard.digest, lease)] = read
        if read.small:
            self._small.add(read)
            return read
        with self._lock:
            if self._enough is None:
                self._pool.submit(self._run, read)
            else:
                self._held_back.append(read)
                if self._one is None:
                    self._next_one()
        return read

    def tick(self) -> None:
        """Some time has passed: let those that wait begin where one stream is not fast."""
        self._small.tick()
        with self._lock:
            now = self._clock()
            if self._one is None or self._enough is None or now - self._one_since < _LOOKED_AT:
                return
            if self._one.bytes < self._enough * (now - self._one_since):
                self._enough = None
                while self._held_back:
                    self._pool.submit(self._run, self._held_back.popleft())

    def _next_one(self) -> None:
        """Called with the lock held."""
        self._one = self._held_back.popleft() if self._held_back else None
        self._one_since = self._clock()
        if self._one is not None:
            self._pool.submit(self._run, self._one)

    def stop(self, task: Digest, lease: int) -> None:
        if read := self._running.get((task, lease)):
            self._stop(read)

    def stop_task(self, task: Digest) -> None:
        for (digest, _), read in list(self._running.items()):
            if digest == task:
                self._stop(read)

    def _stop(self, read: LeaseRead) -> None:
        read.stopped = True
        with self._lock:
            if read in self._held_back:
                self._held_back.remove(read)
                self._pool.submit(self._run, read)  # which ends at once

    @property
    def running(self) -> list[LeaseRead]:
        """Being read, or waiting for a thread."""
        return list(self._running.values())

    @property
    def idle(self) -> bool:
        """No lease is being read or waits for a thread."""
        return not self._running

    @property
    def bytes_read(self) -> int:
        """By all leases until now."""
        return self._bytes_ended + sum(read.bytes for read in self._running.values())

    def ended(self, read: LeaseRead) -> None:
        """The engine has dealt with the end of this read."""
        if self._running.pop((read.fetch.shard.digest, read.lease), None) is not None:
            self._bytes_ended += read.bytes

    def progress(self) -> dict[Digest, dict[int, int]]:
        """task -> lease -> bytes read, for the leases that are being read and brought some."""
        found: dict[Digest, dict[int, int]] = {}
        for (task, lease), read in self._running.items():
            if read.bytes:
                found.setdefault(task, {})[lease] = read.bytes
        return found

    def close(self) -> None:
        for read in list(self._running.values()):
            self._stop(read)
        self._pool.shutdown(wait=True, cancel_futures=True)

    # --- in the reading thread ---

    def _run(self, read: LeaseRead) -> None:
        self._read(read)
        self._callbacks.on_end((read,))

    @staticmethod
    def _wait_for_others(read: LeaseRead) -> None:
        """A parent whose connection was cut for this read may still have a block to write, over what is read here."""
        while not read.stopped and any(piece in read.fetch.writers for piece in read.pieces):
            time.sleep(_LAST_BLOCK)

    def _read(self, read: LeaseRead) -> None:
        read.thread = threading.get_ident()
        try:
            self._wait_for_others(read)
            with self._readers.lent(read.fetch.artifact) as reader:
                for start, count in spans(read.pieces):
                    self._read_span(reader, read, start, count)
                _checked(read)
                for start, count in spans(PieceSet.of(read.again)):
                    self._read_span(reader, read, start, count)
        except _Stopped:
            pass
        except ModeldistError as error:
            read.error = error
        except OSError as error:
            read.error = disk_failure(read.fetch.partial.path, error)
        except Exception as error:
            read.error = ModeldistError(f"Reading {read.fetch.path} from the origin failed: {error!r}.")
        with self._lock:
            if read is self._one:
                self._next_one()
        self._await_checks(read)

    @staticmethod
    def _await_checks(read: LeaseRead) -> None:
        """A piece that came and cannot be kept (a full or broken disk) fails the lease."""
        _checked(read)
        for check in read.checks:
            error = None if check.cancelled() else check.exception()
            if isinstance(error, OSError | ModeldistError):
                read.error = read.error or disk_failure(read.fetch.partial.path, error)

    def _read_span(self, reader: RangeReader, read: LeaseRead, start: int, count: int) -> None:
        fetch = read.fetch
        lacking = {piece: fetch.lacking(piece) for piece in range(start, start + count)}
        ranges = united(*lacking.values())
        position, piece = ranges[0][0], start

        def on_bytes(new: int) -> None:
            nonlocal position, piece
            position += new
            read.bytes += new
            read.waiting = not new
            while piece < start + count and position >= lacking[piece][-1][1]:
                self._check(read, piece)
                piece += 1
            if (pause := self._rate.spent(new)) > 0:  # the origin waits too, once the socket is full
                sit_out(pause)
            if read.stopped or read.error is not None:  # of a piece that was wrong, the rest is not worth its bytes
                raise _Stopped

        for first, stop in ranges:
            if read.stopped:
                raise _Stopped
            position = first
            reader.read(fetch.shard.digest, first, stop - first, fetch.partial.fd, first, on_bytes)

    def _check(self, read: LeaseRead, piece: int) -> None:
        if read.fetch.layout.length(piece) <= _CHECKED_AT_ONCE:
            self._callbacks.on_piece(read, piece)
            return
        read.checks.append(self._verifier.submit(lambda: self._callbacks.on_piece(read, piece)))


@waits_for("checks")
def _checked(read: LeaseRead) -> None:
    wait(read.checks)


def spans(pieces: PieceSet) -> list[tuple[int, int]]:
    """Maximal runs of consecutive pieces, as (start, count)."""
    runs: list[tuple[int, int]] = []
    for piece in pieces:
        if runs and runs[-1][0] + runs[-1][1] == piece:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((piece, 1))
    return runs
