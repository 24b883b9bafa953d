"""Many locks in one file: each is a byte of it, locked for an open file description (F_OFD_SETLK).

The kernel frees them when their process ends. They cost one system call and no inode.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import struct
import threading
import time
from pathlib import Path

_FLOCK = struct.Struct("hhqqi4x")  # struct flock: type, whence, start, length, pid
_POLL = 0.02  # seconds between two looks at a lock


class RangeLock:
    """A held lock. Release it once."""

    def __init__(self, locks: RangeLocks, offset: int) -> None:
        self._locks = locks
        self._offset: int | None = offset

    def release(self) -> None:
        if self._offset is not None:
            self._locks.release(self._offset)
            self._offset = None


class RangeLocks:
    """The locks of one file, made when first needed. Thread-safe; one instance excludes others, here and elsewhere."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._mine: set[int] = set()
        self._fd = -1

    def try_lock(self, name: str) -> RangeLock | None:
        """The lock of that name, or None while somebody has it. Raises OSError."""
        offset = _offset(name)
        with self._lock:
            if offset in self._mine:
                return None
            try:
                self._set(fcntl.F_WRLCK, offset)
            except BlockingIOError:
                return None
            self._mine.add(offset)
        return RangeLock(self, offset)

    def is_locked(self, name: str) -> bool:
        offset = _offset(name)
        with self._lock:
            if offset in self._mine:
                return True
            asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, offset, 1, 0)
            kind = _FLOCK.unpack(fcntl.fcntl(self._open(), fcntl.F_OFD_GETLK, asked))[0]
        return bool(kind != fcntl.F_UNLCK)

    def wait_unlocked(self, name: str, timeout: float) -> bool:
        """Wait up to `timeout` seconds until nobody has it. Whether that came true."""
        deadline = time.monotonic() + timeout
        while self.is_locked(name):
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL)
        return True

    def release(self, offset: int) -> None:
        with self._lock:
            self._mine.discard(offset)
            if self._fd >= 0:
                self._set(fcntl.F_UNLCK, offset)

    def close(self) -> None:
        """Everything is released."""
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1
            self._mine.clear()

    def _set(self, kind: int, offset: int) -> None:
        fcntl.fcntl(self._open(), fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, offset, 1, 0))

    def _open(self) -> int:
        if self._fd < 0:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return self._fd


def _offset(name: str) -> int:
    """Two names share a byte once in 2^62."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) >> 2
