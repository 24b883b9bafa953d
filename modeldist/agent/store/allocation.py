"""The blocks of a file, allocated before its bytes come, so that a disk cannot fill up in mid-pull.

Disks take no time for it. A filesystem in memory looks for every page, 0.3 s for eight files of 256 MiB on two cores:
there it goes on in a thread while the first bytes are on their way, and gives way to them.
"""

from __future__ import annotations

import ctypes
import errno
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress

_FIRST = 4 << 20  # bytes allocated in one call, at first
_SLOW = 0.001  # seconds; calls that take less may be for more
_GROWTH = 8
_LOWEST = 19  # niceness


class Allocation:
    """Begins at once, in the calling thread; `threads` are for what takes long. Raises OSError (ENOSPC), then and from
    `check`.

    `fd` must stay open until `stop` has returned. `spend` is told of the bytes that are allocated now and were not.
    """

    def __init__(self, fd: int, size: int, spend: Callable[[int], None], threads: Executor) -> None:
        self._fd = fd
        self._size = size
        self._spend = spend
        self._done = 0
        self._length = _FIRST
        self._spent = self._allocated()
        self._stopped = False
        self._rest: Future[None] | None = None
        while self._done < size:
            if self._slow():
                self._rest = threads.submit(self._finish)
                return

    def check(self) -> None:
        """Raises OSError when not everything could be allocated."""
        if self._rest is not None and self._rest.done() and not self._rest.cancelled():
            self._rest.result()

    def stop(self) -> None:
        """No more is allocated. Blocks for one call at most."""
        self._stopped = True
        if self._rest is not None and not self._rest.cancel():
            self._rest.exception()

    def _finish(self) -> None:
        while self._done < self._size and not self._stopped:
            self._slow()

    def _slow(self) -> bool:
        """Allocate the next part. Whether that took long."""
        began = time.monotonic()
        length = min(self._length, self._size - self._done)
        if not allocate(self._fd, self._done, length):
            length = self._size - self._done  # the filesystem cannot, and need not be asked again
        self._done += length
        allocated = self._size if self._done == self._size else self._allocated()
        self._spend(max(0, allocated - self._spent))
        self._spent = max(allocated, self._spent)
        slow = time.monotonic() - began > _SLOW
        if not slow:
            self._length *= _GROWTH
        return slow

    def _allocated(self) -> int:
        return min(self._size, os.fstat(self._fd).st_blocks * 512)


def give_way() -> None:
    """Let this thread run where no other wants to: what it hurries for is already here when bytes came first."""
    with suppress(OSError):  # where a sandbox forbids it
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST)


def allocate(fd: int, offset: int, length: int) -> bool:
    """Allocate the blocks of a range, unwritten. False where the filesystem cannot.

    Not os.posix_fallocate, which on such filesystems writes to every block. Raises OSError (ENOSPC).
    """
    libc = ctypes.CDLL(None, use_errno=True)
    while libc.fallocate(fd, 0, ctypes.c_int64(offset), ctypes.c_int64(length)) != 0:
        code = ctypes.get_errno()
        if code in (errno.EOPNOTSUPP, errno.ENOSYS):
            return False
        if code != errno.EINTR:
            raise OSError(code, os.strerror(code))
    return True
