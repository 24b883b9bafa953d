"""Locks between processes by flock: the kernel frees them when their holder dies, kill -9 included.

A lock file may be unlinked by its holder; whoever then gets the lock of the unlinked inode notices and tries again.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self

_POLL = 0.02  # seconds between tries: flock cannot wait with a timeout
_PROBE = 0.1  # seconds begin() tolerates another process merely asking whether a lock is held


class FileLock:
    """A held lock. Release it once, by `release()` or by leaving the `with` block."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.fd = fd
        self._process = os.getpid()

    def release(self) -> None:
        if self.fd >= 0:
            if os.getpid() == self._process:  # closing frees nothing as long as a process that was forked has it too
                fcntl.flock(self.fd, fcntl.LOCK_UN)
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()


def lock(path: Path, *, shared: bool = False, mode: int = 0o600) -> FileLock:
    """Wait for the lock, however long. Raises OSError when the file cannot be opened."""
    found = _acquire(path, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, mode)
    assert found is not None  # a blocking flock never says "busy"
    return found


def try_lock(path: Path, *, patience: float = _PROBE) -> FileLock | None:
    """The exclusive lock, or None when it stays held for `patience` seconds."""
    deadline = time.monotonic() + patience
    while True:
        found = _acquire(path, fcntl.LOCK_EX | fcntl.LOCK_NB, 0o600)
        if found is not None or time.monotonic() >= deadline:
            return found
        time.sleep(_POLL)


def is_locked(path: Path) -> bool:
    """Whether a live process holds the lock (False when the file is missing)."""
    try:
        fd = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def wait_unlocked(path: Path, timeout: float) -> bool:
    """Wait up to `timeout` seconds until nobody holds the lock. Whether that came true."""
    deadline = time.monotonic() + timeout
    while is_locked(path):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL)
    return True


def _acquire(path: Path, how: int, mode: int) -> FileLock | None:
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT, mode)
        try:
            fcntl.flock(fd, how)
            if _still_named(fd, path):
                return FileLock(path, fd)
        except BlockingIOError:
            os.close(fd)
            return None
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def _still_named(fd: int, path: Path) -> bool:
    try:
        named = path.stat()
    except FileNotFoundError:
        return False
    mine = os.fstat(fd)
    return (named.st_ino, named.st_dev) == (mine.st_ino, mine.st_dev)
