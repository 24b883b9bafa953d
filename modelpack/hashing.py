"""Hashing files at the speed of the disk: threads (hashing releases the interpreter lock) and one buffer for each."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

_BUFFER = 4 * 1024 * 1024  # bytes; a fresh buffer per read would cost more than the hashing
_buffers = threading.local()


@dataclass(frozen=True, slots=True)
class HashedFile:
    """`size` in bytes, `mtime_ns` before the first byte was read."""

    digest: str
    size: int
    mtime_ns: int


def hash_file(path: Path, algorithm: str = "sha256") -> HashedFile:
    """Read the whole file. Raises OSError."""
    if not hasattr(_buffers, "view"):
        _buffers.view = memoryview(bytearray(_BUFFER))
    view: memoryview = _buffers.view
    content = hashlib.new(algorithm)
    size = 0
    with path.open("rb", buffering=0) as file:
        mtime_ns = os.fstat(file.fileno()).st_mtime_ns
        while count := file.readinto(view):
            content.update(view[:count])
            size += count
    return HashedFile(f"{algorithm}:{content.hexdigest()}", size, mtime_ns)


def hash_files(paths: Sequence[Path], *, threads: int | None = None) -> list[HashedFile]:
    """All files, in the order given; `threads` at once (by default one per core, at most 8). Raises OSError."""
    workers = threads or min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="hash") as pool:
        return list(pool.map(hash_file, paths))
