"""Hashing files at the speed of the disk: threads (hashing releases the interpreter lock) and buffers that are kept.

`hash_file` gives the sha256 of a file. `hash_with_chunks` gives its BLAKE3 chunks too, from the same read: sha256 is
one chain of steps and takes one core, so the chunks go to other threads meanwhile.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

_BUFFER = 4 * 1024 * 1024  # bytes; a fresh buffer per read would cost more than the hashing
_AHEAD = 3  # buffers one file's chunks may fill before its reader waits for them
_buffers = threading.local()


@dataclass(frozen=True, slots=True)
class HashedFile:
    """`size` in bytes, `mtime_ns` before the first byte was read."""

    digest: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class ChunkedFile:
    """A HashedFile with the BLAKE3 digests of its chunks of `chunk_size` bytes, 32 bytes each, in order."""

    digest: str
    size: int
    mtime_ns: int
    chunk_size: int
    chunks: bytes


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


def hash_with_chunks(path: Path, chunk_size: int, others: Executor) -> ChunkedFile:
    """Read the whole file once; `others` are the threads that take chunks off this one's hands. Raises OSError."""
    content = hashlib.sha256()
    chunks: list[bytes] = []
    waiting: deque[Future[bytes]] = deque()
    size = 0
    with path.open("rb", buffering=0) as file:
        status = os.fstat(file.fileno())
        step = max(chunk_size, _BUFFER // chunk_size * chunk_size)
        views = _buffer(step, _AHEAD if status.st_size > step else 1)
        turn = 0
        while count := _fill(file.fileno(), view := views[turn % len(views)][:step]):
            part = view[:count]
            if len(views) > 1:
                waiting.append(others.submit(_chunks, part, chunk_size))
                content.update(part)
                if len(waiting) == len(views):
                    chunks.append(waiting.popleft().result())  # the next read goes where its chunks are
            else:
                content.update(part)
                chunks.append(_chunks(part, chunk_size))
            size += count
            turn += 1
    chunks.extend(each.result() for each in waiting)
    return ChunkedFile("sha256:" + content.hexdigest(), size, status.st_mtime_ns, chunk_size, b"".join(chunks))


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


def _fill(descriptor: int, view: memoryview) -> int:
    """Read until the buffer is full or the file ends: chunks must not be cut where a read was short."""
    count = 0
    while count < len(view) and (got := os.readv(descriptor, [view[count:]])):
        count += got
    return count


def _chunks(data: memoryview, chunk_size: int) -> bytes:
    return b"".join(blake3(data[at : at + chunk_size]).digest() for at in range(0, len(data), chunk_size))
