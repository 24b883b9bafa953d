"""Hashing files at the speed of the disk: threads (hashing releases the interpreter lock) and buffers that are kept.

`hash_file` gives the sha256 of a file. `hash_with_chunks` gives its BLAKE3 chunks too, from the same read; while there
are cores to spare, reading and chunks go to other threads.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from blake3 import blake3

from modelpack.chunk_index import Cuts, cut, joined

_BUFFER = 4 * 1024 * 1024  # bytes; a fresh buffer per read would cost more than the hashing
_AHEAD = 3  # buffers of one file: one for its sha256, one that is read, one whose chunks are hashed
_buffers = threading.local()


@dataclass(frozen=True, slots=True)
class HashedFile:
    """`size` in bytes, `mtime_ns` before the first byte was read."""

    digest: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class ChunkedFile:
    """A HashedFile with the BLAKE3 digests of its chunks of `chunk_size` bytes, 32 bytes each, in order, and its
    `cuts` where it was cut by content too."""

    digest: str
    size: int
    mtime_ns: int
    chunk_size: int
    chunks: bytes
    cuts: Cuts | None = None


@dataclass(frozen=True, slots=True)
class Cutting:
    """How a part of a file is cut: into chunks of `chunk_size` bytes, and by content by the setting `average` (see
    `modelpack.chunk_index`; 0: not at all)."""

    chunk_size: int
    average: int = 0

    def __call__(self, part: memoryview) -> tuple[bytes, Cuts | None]:
        return _chunks(part, self.chunk_size), cut(part, self.average) if self.average else None


def hash_file(path: Path, algorithm: str = "sha256") -> HashedFile:
    """Read the whole file. Raises OSError."""
    view = _buffer(_BUFFER, 1)[0]
    content = hashlib.new(algorithm)
    size = 0
    with path.open("rb", buffering=0) as file:
        mtime_ns = os.fstat(file.fileno()).st_mtime_ns
        while count := file.readinto(view):
            content.update(view[:count])
            size += count
    return HashedFile(f"{algorithm}:{content.hexdigest()}", size, mtime_ns)


class Spare:
    """Threads that help with a file while fewer files are hashed than there are cores: its sha256 is one chain of steps
    and takes one core, and all else can be done beside it. Where every core has a file, helping would only cost."""

    def __init__(self, threads: Executor, cores: int) -> None:
        self._threads = threads
        self._cores = cores
        self._files = 0
        self._lock = threading.Lock()

    @contextmanager
    def file(self) -> Iterator[None]:
        """Around the hashing of each file."""
        with self._lock:
            self._files += 1
        try:
            yield
        finally:
            with self._lock:
                self._files -= 1

    @property
    def free(self) -> bool:
        return self._files < self._cores

    def read(self, descriptor: int, part: memoryview, start: int, cutting: Cutting) -> ReadAhead:
        """Fill `part` from byte `start` of the file and cut it, in another thread."""
        count: Future[int] = Future()

        def work() -> tuple[bytes, Cuts | None]:
            try:
                count.set_result(_fill(descriptor, part, start))
            except BaseException as error:
                count.set_exception(error)
                raise
            return cutting(part[: count.result()])

        return ReadAhead(part, count, self._threads.submit(work))


@dataclass(frozen=True, slots=True)
class ReadAhead:
    """A buffer that is being read: how many bytes it got, which come first, and the digests of their chunks."""

    part: memoryview
    count: Future[int]
    chunks: Future[tuple[bytes, Cuts | None]]


def hash_with_chunks(path: Path, chunk_size: int, spare: Spare, average: int = 0) -> ChunkedFile:
    """Read the whole file once. `average`: cut it by content too, by this setting. Raises OSError."""
    content = hashlib.sha256()
    cutting = Cutting(chunk_size, average)
    chunks: list[Callable[[], tuple[bytes, Cuts | None]]] = []
    size = 0
    with spare.file(), path.open("rb", buffering=0) as file:
        descriptor, status = file.fileno(), os.fstat(file.fileno())
        step = max(chunk_size, _BUFFER // chunk_size * chunk_size)  # whole segments of a chunk index, too
        unused = deque(view[:step] for view in _buffer(step, _AHEAD if status.st_size > step else 1))
        ahead: deque[ReadAhead] = deque()
        hashed: deque[ReadAhead] = deque()  # but maybe not its chunks
        start = 0
        try:
            while ahead or start < status.st_size:
                while spare.free and start < status.st_size and (unused or hashed) and status.st_size > step:
                    part = unused.popleft() if unused else _done(hashed.popleft())
                    ahead.append(spare.read(descriptor, part, start, cutting))
                    start += step
                if ahead:
                    read = ahead.popleft()
                    count = read.count.result()
                    content.update(read.part[:count])
                    chunks.append(read.chunks.result)
                    hashed.append(read)
                else:
                    part = unused.popleft() if unused else _done(hashed.popleft())
                    count = _fill(descriptor, part, start)
                    content.update(part[:count])
                    chunks.append(partial(_same, cutting(part[:count])))
                    unused.append(part)
                    start += step
                size += count
        finally:
            for read in (*ahead, *hashed):  # nobody writes into the buffers, or reads the file, after this
                read.chunks.exception()
        parts = [found() for found in chunks]
        return ChunkedFile(
            "sha256:" + content.hexdigest(),
            size,
            status.st_mtime_ns,
            chunk_size,
            b"".join(digests for digests, _ in parts),
            joined(cuts for _, cuts in parts if cuts is not None) if average else None,
        )


def _same(found: tuple[bytes, Cuts | None]) -> tuple[bytes, Cuts | None]:
    return found


def _done(read: ReadAhead) -> memoryview:
    read.chunks.result()
    return read.part


def hash_files(paths: Sequence[Path], *, threads: int | None = None) -> list[HashedFile]:
    """All files, in the order given; `threads` at once (by default one per core, at most 8). Raises OSError."""
    with ThreadPoolExecutor(max_workers=threads or cores(), thread_name_prefix="hash") as pool:
        return list(pool.map(hash_file, paths))


def cores() -> int:
    """How many files to hash at once: as many as cores this process may use, at most 8."""
    return min(8, len(os.sched_getaffinity(0)))


def _buffer(size: int, count: int) -> list[memoryview]:
    """This thread's buffers, made when first needed and kept."""
    held: list[memoryview] = getattr(_buffers, "views", [])
    held = [view for view in held if len(view) >= size]
    while len(held) < count:
        held.append(memoryview(bytearray(size)))
    _buffers.views = held
    return held[:count]


def _fill(descriptor: int, part: memoryview, start: int) -> int:
    """Read until the buffer is full or the file ends: chunks must not be cut where a read was short."""
    count = 0
    while count < len(part) and (got := os.preadv(descriptor, [part[count:]], start + count)):
        count += got
    return count


def _chunks(data: memoryview, chunk_size: int) -> bytes:
    return b"".join(blake3(data[at : at + chunk_size]).digest() for at in range(0, len(data), chunk_size))
