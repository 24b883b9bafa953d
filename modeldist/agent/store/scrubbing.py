"""Scrubbing: every complete shard, and every one of which ranges are here, is read again and held against its digest.

One at a time, in the order of their digests, so that a digest says how far a round was, also after a restart. It is
read past the kernel's cache where the filesystem can do that: what programs have there stays, and what is read is what
the disk has. What is damaged is withdrawn as `verify --remove` does it.
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from modeldist.agent.store.atomic import write_atomically
from modeldist.agent.store.audit import Auditor, Flaw, OnBytes, inode_of
from modeldist.agent.store.blobs import blobs_in
from modeldist.agent.store.buffers import SIZE, piece_hash
from modeldist.agent.store.places import Places
from modeldist.agent.store.records import Records
from modeldist.agent.store.rounds import Round
from modeldist.agent.store.sparse_shards import SparseShard, sparse_shard
from modeldist.artifact import Digest
from modeldist.errors import UNDECODABLE

_TOGETHER = 64 << 20  # bytes read between two writings of how far it is
_UNALIGNED = (errno.EINVAL, errno.EOPNOTSUPP)  # what a filesystem says that cannot read past its cache
_PARTS = "~"  # in front of shards that are here in part, which come after the others


@dataclass(frozen=True)
class Target:
    """A file to be read. `place` is its place in the order; `part` is of a shard that is here in part."""

    place: str
    digest: Digest
    path: Path
    part: SparseShard | None = None


class Scrubber:
    """Thread-safe. Remembers its rounds in the store. `recheck` has a part's journal forget what its file has not."""

    def __init__(
        self,
        places: Places,
        auditor: Auditor,
        records: Records,
        recheck: Callable[[SparseShard], None],
        clock: Callable[[], float],
    ) -> None:
        self._places = places
        self._auditor = auditor
        self._records = records
        self._recheck = recheck
        self._clock = clock
        self._lock = threading.Lock()
        self._round = self._read()
        self._unkept = 0  # bytes read since it was written

    # --- rounds ---

    @property
    def round(self) -> Round:
        """The one that runs, or the last."""
        return self._round

    def begin(self) -> None:
        """A new one."""
        self._keep(msgspec.structs.replace(Round(self._clock()), wanting=self._round.wanting))

    def passed(self, target: Target, size: int, *, damaged: bool) -> None:
        """`size` bytes of it were read. Kept on the disk with many others; see `keep`."""
        now = self._round
        self._unkept += size
        self._keep(
            msgspec.structs.replace(
                now,
                after=target.place,
                shards=now.shards + 1,
                bytes=now.bytes + size,
                damaged=now.damaged + damaged,
            ),
            write=damaged or self._unkept >= _TOGETHER,
        )

    def keep(self) -> None:
        """How far it is, for who goes on after this process."""
        self._keep(self._round)

    def end(self) -> None:
        self._keep(msgspec.structs.replace(self._round, ended=max(self._clock(), self._round.began), after=""))

    def want(self, *artifacts: Digest) -> None:
        """They are to be repaired, also after a restart."""
        self._keep_wanting(lambda now: tuple(dict.fromkeys((*now, *artifacts))))

    def mended(self, artifact: Digest) -> None:
        self._keep_wanting(lambda now: tuple(digest for digest in now if digest != artifact))

    def _keep_wanting(self, change: Callable[[tuple[Digest, ...]], tuple[Digest, ...]]) -> None:
        with self._lock:
            now = self._round
            if (wanting := change(now.wanting)) != now.wanting:
                self._round = msgspec.structs.replace(now, wanting=wanting)
                self._write(durable=True)

    def _keep(self, now: Round, *, write: bool = True) -> None:
        with self._lock:  # `wanting` is changed by others
            self._round = msgspec.structs.replace(now, wanting=self._round.wanting)
            if write:
                self._write()

    def _write(self, *, durable: bool = False) -> None:
        self._unkept = 0
        data = msgspec.json.encode(self._round)
        with suppress(OSError):  # then it begins anew after a restart
            write_atomically(self._places.scrub, data, tmp=self._places.tmp, whole=True, durable=durable)

    def _read(self) -> Round:
        try:
            return msgspec.json.decode(self._places.scrub.read_bytes(), type=Round)
        except (OSError, *UNDECODABLE):
            return Round()

    # --- what is read ---

    def bytes(self) -> int:
        """Of all that a round reads."""
        return sum(target.part.bytes if target.part else _size(target.path) for target in self._all())

    def left(self) -> Iterator[Target]:
        """What the round has not read."""
        after = self._round.after
        return (target for target in self._all() if target.place > after)

    def _all(self) -> Iterator[Target]:
        for digest, path in blobs_in(self._places):
            yield Target(path.name, digest, path)
        for digest in sorted(set().union(*(record.sparse for record in self._records.all()))):
            if not self._places.blob(digest).exists() and (part := sparse_shard(self._places, digest)) is not None:
                yield Target(_PARTS + digest, digest, part.path, part)

    def check(self, target: Target, on_bytes: OnBytes) -> tuple[Flaw | None, tuple[int, int] | None]:
        """What is wrong with it, and the inode that was read; "missing" where it was removed meanwhile. What `on_bytes`
        raises ends it. Raises OSError."""
        inode = inode_of(target.path)
        try:
            with _Reader(target.path) as reader:
                holds = _pieces_hold(reader, target.part, on_bytes) if target.part else _whole(reader, target, on_bytes)
        except FileNotFoundError:
            return "missing", None
        except OSError as error:
            if error.errno in (errno.EIO, errno.EUCLEAN):
                return "unreadable", inode
            raise
        return None if holds else "content", inode

    def withdraw(self, target: Target, inode: tuple[int, int]) -> bool:
        """Take away what is damaged, and note who wants it again. False where another file is in its place now. Raises
        StorageError."""
        wanting = self._auditor.wanted_by({target.digest})
        self.want(*wanting)  # before it is gone
        if target.part is None:
            return self._auditor.withdraw(target.digest, inode)
        if inode_of(target.path) != inode:
            return False
        self._auditor.withdraw_part(target.digest)
        self._recheck(target.part)
        return True

    def names(self, target: Target) -> tuple[str, str]:
        """(the file, what was pulled) that a person knows it by; empty where no artifact has it."""
        for record, references, _ in self._records.listed():
            for file in record.artifact.files:
                if target.digest in (file.digest, self._auditor.content(file.digest)):
                    return file.path, next(iter(references), record.artifact.reference)
        return "", ""


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _whole(reader: _Reader, target: Target, on_bytes: OnBytes) -> bool:
    hasher = hashlib.sha256()
    for chunk in reader.chunks(0, reader.size):
        hasher.update(chunk)
        on_bytes(len(chunk))
    return f"sha256:{hasher.hexdigest()}" == target.digest


def _pieces_hold(reader: _Reader, part: SparseShard, on_bytes: OnBytes) -> bool:
    for piece, digest in sorted(part.digests.items()):
        hasher = piece_hash()
        for chunk in reader.chunks(part.layout.offset(piece), part.layout.length(piece)):
            hasher.update(chunk)
            on_bytes(len(chunk))
        if hasher.digest() != digest:
            return False
    return True


class _Reader:
    """Of one file, past the cache where that can be, in a buffer of its own. Raises OSError."""

    def __init__(self, path: Path) -> None:
        self._direct = True
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECT)
        except OSError as error:
            if error.errno not in _UNALIGNED:
                raise
            self._direct = False
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self._fd).st_size
        self._buffer = mmap.mmap(-1, SIZE)

    def chunks(self, offset: int, length: int) -> Iterator[memoryview]:
        """Each valid until the next. `offset` is that of a piece, which is one of a page."""
        end = offset + length
        view = memoryview(self._buffer)
        try:
            while offset < end:
                count = self._read(view, offset)
                if count == 0:
                    return
                count = min(count, end - offset)
                yield view[:count]
                offset += count
        finally:
            view.release()

    def _read(self, view: memoryview, offset: int) -> int:
        if self._direct:
            try:
                return os.preadv(self._fd, [view], offset)
            except OSError as error:
                if error.errno not in _UNALIGNED:
                    raise
                self._direct = False  # the filesystem wants it otherwise aligned
                self._reopen()
        count = os.preadv(self._fd, [view], offset)
        with suppress(OSError):
            os.posix_fadvise(self._fd, offset, count, os.POSIX_FADV_DONTNEED)
        return count

    def _reopen(self) -> None:
        fd = os.open(f"/proc/self/fd/{self._fd}", os.O_RDONLY | os.O_CLOEXEC)
        os.close(self._fd)
        self._fd = fd

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)
        with suppress(BufferError):  # of a reading that was ended in its middle
            self._buffer.close()
