"""Writing a partial file to disk while it still arrives, so that the sync at its end finds little left to do.

Without it the kernel begins when a fraction of all memory is dirty, often not before the shard is complete.
"""

from __future__ import annotations

import ctypes
import threading
from functools import cache

STEP = 64 << 20  # bytes; 8 MiB steps wait for each other in the block layer, larger ones leave more to the sync
_START = 2  # SYNC_FILE_RANGE_WRITE: begin writing dirty pages, wait for nothing (linux/fs.h)


class WriteBehind:
    """Of one open file. Thread-safe. Errors of the disk are for the sync to report."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._grown = 0

    def grown(self, fd: int, count: int) -> None:
        """`count` more bytes of the file will not change."""
        with self._lock:
            self._grown += count
            if self._grown < STEP:
                return
            self._grown = 0
        start_writing(fd)


def start_writing(fd: int) -> None:
    """Begin writing what is dirty in the file. Where that cannot be done, the sync does it all."""
    _libc().sync_file_range(fd, ctypes.c_int64(0), ctypes.c_int64(0), _START)


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
