"""Where a partial shard's file lives until it is a blob, and what keeps other processes away from it.

`Folder` is the ordinary one: a directory with the file, its journal and a lock, that outlives its process. `Nameless`
is for small shards: a file without a name, locked by a byte of a shared file. To make a directory and two files and to
remove them again costs more than a few KiB are worth, and a filesystem that has just removed many inodes is slow to
make new ones. After a crash nothing of it is left, and the shard is fetched again.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from modeldist.agent.store.atomic import sync_directory, temporary, write_all
from modeldist.agent.store.blobs import Blobs
from modeldist.agent.store.buffers import chunks
from modeldist.agent.store.journal import Header, Journal
from modeldist.agent.store.locks import FileLock
from modeldist.agent.store.range_locks import RangeLock
from modeldist.artifact import Digest
from modeldist.scheduler.pieces import PieceSet

SETTLED = "settled"
CONTENTS = ("data", "journal", "journal.new", SETTLED, "settled.new", "lock")
_PIECE_SIZE = struct.Struct("<Q")


Settled = tuple[int, PieceSet]
"""Pieces that are proven for good, and their size."""


def read_settled(folder: Path) -> Settled | None:
    """Of a partial's folder; None where nothing was settled, or that cannot be read."""
    try:
        data = (folder / SETTLED).read_bytes()
    except OSError:
        return None
    if len(data) <= _PIECE_SIZE.size:
        return None
    (piece_size,) = _PIECE_SIZE.unpack_from(data)
    return (piece_size, PieceSet.from_bytes(data[_PIECE_SIZE.size :])) if piece_size else None


class Home(Protocol):
    """`path` names it in messages. `lasts`: what is noted there is found again after close()."""

    @property
    def path(self) -> Path: ...
    @property
    def lasts(self) -> bool: ...
    def note(self, piece: int, blake3: bytes) -> None:
        """The piece is verified."""

    def rewrite(self, header: Header, pieces: Mapping[int, bytes]) -> None:
        """These are the verified pieces, and no others."""

    def reopen(self, fd: int, how: int) -> int:
        """Another descriptor of the file open as `fd`."""

    def adopt(self, blobs: Blobs, fd: int, content: Digest, aliases: Iterable[Digest]) -> None:
        """Make the file, which is synced, a blob, under the blobs' gate; then there is nothing here any more."""

    @property
    def settled(self) -> Settled | None:
        """What `settle` was called with last."""

    def settle(self, settled: Settled) -> None:
        """These pieces are noted, survive a crash of the machine, and are to stay: the file, which is synced, is shown
        to others though it is not whole."""

    def leave(self) -> None:
        """Remove what is here and let others in."""

    def close(self) -> None:
        """Keep what is here and let others in."""


class Folder:
    """A directory of its own. See `Home`."""

    def __init__(self, folder: Path, held: FileLock, journal: Journal) -> None:
        self._folder = folder
        self._held = held
        self._journal = journal
        self.path = folder / "data"
        self.lasts = True

    def note(self, piece: int, blake3: bytes) -> None:
        self._journal.append(piece, blake3)

    def rewrite(self, header: Header, pieces: Mapping[int, bytes]) -> None:
        settled = self._folder / SETTLED
        shown = settled.exists()
        if shown and not pieces:  # or it would say of what comes next that it is on the disk
            settled.unlink()
            sync_directory(self._folder)
        self._journal.rewrite(header, pieces, durable=shown)

    def reopen(self, fd: int, how: int) -> int:
        return os.open(self.path, how)

    def adopt(self, blobs: Blobs, fd: int, content: Digest, aliases: Iterable[Digest]) -> None:
        blobs.adopt(self.path, fd, content, aliases)
        self.leave()

    @property
    def settled(self) -> Settled | None:
        return read_settled(self._folder)

    def settle(self, settled: Settled) -> None:
        self._journal.sync()
        scratch = self._folder / "settled.new"
        with scratch.open("wb", buffering=0) as file:
            write_all(file.fileno(), _PIECE_SIZE.pack(settled[0]) + settled[1].to_bytes())
            os.fdatasync(file.fileno())
        scratch.rename(self._folder / SETTLED)
        sync_directory(self._folder)
        sync_directory(self._folder.parent)

    def leave(self) -> None:
        self._journal.close()
        leave(self._folder, self._held)

    def close(self) -> None:
        self._journal.close()
        self._held.release()


class Nameless:
    """A file without a name, on the filesystem of `tmp`. See `Home`."""

    def __init__(self, tmp: Path, held: RangeLock) -> None:
        self._tmp = tmp
        self._held = held
        self.path = tmp
        self.lasts = False

    def note(self, piece: int, blake3: bytes) -> None:
        """A crash takes the file with it."""

    def rewrite(self, header: Header, pieces: Mapping[int, bytes]) -> None:
        """As `note`."""

    def reopen(self, fd: int, how: int) -> int:
        return os.open(f"/proc/self/fd/{fd}", how)

    def adopt(self, blobs: Blobs, fd: int, content: Digest, aliases: Iterable[Digest]) -> None:
        if not blobs.adopt_nameless(fd, content, aliases):
            _adopt_copy(blobs, temporary(self._tmp), fd, content, aliases)
        self.leave()

    @property
    def settled(self) -> Settled | None:
        return None

    def settle(self, settled: Settled) -> None:
        """There is nothing to be found again."""

    def leave(self) -> None:
        self._held.release()

    def close(self) -> None:
        self._held.release()


def nameless_file(folder: Path, size: int) -> int | None:
    """A descriptor of a new file of `size` bytes on the filesystem of `folder`; None where there are none."""
    try:
        fd = os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:
        return None
    try:
        os.ftruncate(fd, size)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _adopt_copy(blobs: Blobs, path: Path, fd: int, content: Digest, aliases: Iterable[Digest]) -> None:
    copy = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        for chunk in chunks(fd, 0, os.fstat(fd).st_size):
            write_all(copy, chunk)
        os.fdatasync(copy)
        blobs.adopt(path, copy, content, aliases)
    finally:
        os.close(copy)
        path.unlink(missing_ok=True)


def leave(folder: Path, held: FileLock) -> None:
    """Remove a partial's folder and let go of its lock. The lock goes last: until then nobody else makes files here."""
    try:
        with suppress(FileNotFoundError):
            (folder / SETTLED).unlink()
            sync_directory(folder)  # it must not speak of a file that is gone
        for name in CONTENTS:
            (folder / name).unlink(missing_ok=True)
        with suppress(OSError):  # somebody has begun anew in it
            folder.rmdir()
    finally:  # also on a disk that fails: what is left there is what a crash leaves
        held.release()
