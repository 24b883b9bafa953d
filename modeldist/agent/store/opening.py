"""How a Partial comes to be: lock its folder, make or resume its file, check again what the journal claims."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial as bound
from pathlib import Path

from modeldist.agent.store.allocation import Allocation, allocate, give_way
from modeldist.agent.store.blobs import SMALL, Blobs
from modeldist.agent.store.failures import naming
from modeldist.agent.store.follower import Follower, HashThreads
from modeldist.agent.store.homes import Folder, Home, Nameless, leave, nameless_file
from modeldist.agent.store.journal import Contents, Header, Journal, parse
from modeldist.agent.store.locks import FileLock, try_lock, wait_unlocked
from modeldist.agent.store.partial import Partial
from modeldist.agent.store.places import Places
from modeldist.agent.store.range_locks import RangeLocks
from modeldist.agent.store.recheck import covered, hash_pieces
from modeldist.agent.store.taking_in import TakingIn, check_size, fetched_already
from modeldist.artifact import Digest, Shard
from modeldist.scheduler.pieces import PieceLayout, PieceSet

Ranges = tuple[tuple[int, int], ...]
_PREALLOCATE = 1 << 20  # bytes; smaller files gain nothing from it


class Opener:
    """Makes the Partials of one store.

    `spend` is told of the bytes each newly allocates, `tell` of every piece verified later, `on_close` of its end.
    """

    def __init__(
        self,
        places: Places,
        blobs: Blobs,
        *,
        spend: Callable[[int], None],
        tell: Callable[[Digest, PieceSet, bool], None],
        on_close: Callable[[Partial], None],
    ) -> None:
        self._places = places
        self._blobs = blobs
        self._spend = spend
        self._tell = tell
        self._on_close = on_close
        self._threads = HashThreads()
        self._allocating = ThreadPoolExecutor(1, thread_name_prefix="allocate", initializer=give_way)
        self._small = RangeLocks(places.live / "small-shards")
        self.taking_in = TakingIn(places, blobs, self._small, spend)

    def close(self) -> None:
        self._threads.close()
        self._allocating.shutdown()
        self._small.close()

    def wait_unlocked(self, shard: Digest, timeout: float) -> bool:
        """See Store.wait_unlocked."""
        began = time.monotonic()
        if not self._small.wait_unlocked(shard, timeout):
            return False
        return wait_unlocked(self._places.partial(shard) / "lock", max(0.0, timeout - (time.monotonic() - began)))

    def begin(self, shard: Shard, piece_size: int, ranges: Ranges = ()) -> Partial:
        """See Store.begin."""
        if shard.size <= min(piece_size, SMALL) and not os.path.isdir(self._places.partial_folder(shard.digest)):  # noqa: PTH112 - hot
            with naming("begin a shard", self._places.tmp):
                opened = self._begin_small(shard, piece_size)
            if opened is not None:
                return opened
        folder = self._places.partial(shard.digest)
        with naming("begin a shard", folder):
            held = lock_folder(folder)
            if held is None:
                raise fetched_already(shard)
            try:
                complete = self._blobs.path(shard.digest)
                if complete is not None:  # the pull that held the lock before has finished it
                    leave(folder, held)
                    return self._complete(shard, piece_size, complete, self._folder(shard, piece_size, folder, held))
                return self._resume(shard, piece_size, folder, held, ranges)
            except BaseException:
                if held.fd >= 0 and not (folder / "journal").exists():
                    leave(folder, held)
                held.release()
                raise

    def _begin_small(self, shard: Shard, piece_size: int) -> Partial | None:
        """In a file without a name; None where the filesystem has none."""
        held = self._small.try_lock(shard.digest)
        if held is None:
            raise fetched_already(shard)
        home = Nameless(self._places.tmp, held)
        try:
            complete = self._blobs.path(shard.digest)
            if complete is not None:
                return self._complete(shard, piece_size, complete, home)
            fd = nameless_file(self._places.tmp, shard.size)
            if fd is None:
                held.release()
                return None
            self._spend(shard.size)
            return self._partial(shard, PieceLayout(shard.size, piece_size), home, fd)
        except BaseException:
            held.release()
            raise

    @staticmethod
    def _folder(shard: Shard, piece_size: int, folder: Path, held: FileLock) -> Folder:
        return Folder(folder, held, Journal(folder / "journal", Header(shard.digest, shard.size, piece_size)))

    def _resume(self, shard: Shard, piece_size: int, folder: Path, held: FileLock, ranges: Ranges) -> Partial:
        found = read_journal(folder / "journal", shard)
        layout = PieceLayout(shard.size, found.header.piece_size if found else piece_size)
        journal = Journal(folder / "journal", Header(shard.digest, layout.size, layout.piece_size))
        home = Folder(folder, held, journal)
        cut = PieceLayout(shard.size, piece_size)
        wanted = cut.ranges(cut.touching(ranges))
        fd, allocation = self._allocate(folder / "data", shard, wanted)
        opened = self._partial(shard, layout, home, fd, allocation=allocation, sparse=bool(ranges))
        if found is None:
            return opened
        try:
            settled = home.settled
            _recheck(opened, found, journal, durable=settled is not None)
            if settled is not None:
                piece_size, pieces = settled
                shown = covered(PieceLayout(shard.size, piece_size), pieces, layout)
                if lost := shown - opened.have():  # damaged: what comes in their place is not on the disk yet
                    home.settle((layout.piece_size, shown - lost))
                opened.protect(shown)
        except BaseException:
            opened.close()
            raise
        return opened

    def _complete(self, shard: Shard, piece_size: int, path: Path, home: Home) -> Partial:
        """Of a shard that is a blob already."""
        size = path.stat().st_size
        check_size(shard, size)
        committed = self._blobs.sha256(shard.digest)
        home.close()
        return self._partial(shard, PieceLayout(size, piece_size), home, os.open(path, os.O_RDONLY), committed)

    def _partial(
        self,
        shard: Shard,
        layout: PieceLayout,
        home: Home,
        fd: int,
        committed: Digest | None = None,
        allocation: Allocation | None = None,
        sparse: bool = False,
    ) -> Partial:
        return Partial(
            shard.digest,
            home=home,
            fd=fd,
            layout=layout,
            follower=Follower(fd, shard.digest, shard.size, self._threads),
            blobs=self._blobs,
            tell=bound(self._tell, shard.digest),
            on_close=self._on_close,
            committed=committed,
            allocation=allocation,
            sparse=sparse,
        )

    def _allocate(self, path: Path, shard: Shard, ranges: Ranges) -> tuple[int, Allocation | None]:
        """The data file, of full size; its blocks, or those of `ranges`, are being allocated so that the disk cannot
        fill up in mid-pull."""
        with suppress(FileNotFoundError):
            # A crash in commit() may have left it read-only, and a snapshot that shows it has made it so.
            path.chmod(0o600 | stat.S_IMODE(path.stat().st_mode))
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            before = os.fstat(fd)
            if before.st_size != shard.size:
                os.ftruncate(fd, shard.size)
            if ranges:
                for start, stop in ranges:
                    allocate(fd, start, stop - start)
                self._spend(max(0, os.fstat(fd).st_blocks - before.st_blocks) * 512)
                return fd, None
            if shard.size > _PREALLOCATE:
                return fd, Allocation(fd, shard.size, self._spend, self._allocating)
        except BaseException:
            os.close(fd)
            raise
        self._spend(max(0, shard.size - before.st_blocks * 512))
        return fd, None


def lock_folder(folder: Path) -> FileLock | None:
    """Make the folder if need be and lock it; None when someone else keeps it locked."""
    while True:
        folder.mkdir(mode=0o700, exist_ok=True)
        try:
            return try_lock(folder / "lock")
        except FileNotFoundError:
            continue  # its holder removed it between the two steps


def read_journal(path: Path, shard: Shard) -> Contents | None:
    """The journal at `path` if it is readable, about `shard`, and not empty."""
    try:
        contents = parse(path.read_bytes())
    except FileNotFoundError:
        return None
    if contents is None or not contents.pieces:
        return None
    about = (contents.header.digest, contents.header.size)
    return contents if about == (shard.digest, shard.size) else None


def _recheck(opened: Partial, found: Contents, journal: Journal, *, durable: bool) -> None:
    """Take in the journaled pieces whose data is really in the file; drop the others from the journal."""

    def check(piece: int, blake3: bytes) -> None:
        if blake3 == found.pieces[piece]:
            opened.include(piece, blake3)

    hash_pieces(opened.fd, opened.layout, found.pieces, check)
    good = opened.digests()
    if found.whole and len(good) == len(found.pieces):
        journal.continue_()
    else:
        journal.rewrite(found.header, good, durable=durable)
