"""Many files synced with one wait.

`fdatasync` of one file after the other waits for each, three times (its data, the journal, the disk's cache), and a
disk that is also writing a large shard makes each wait long. The kernel's asynchronous I/O takes them together, and
merges what they ask of the disk. Python has no call for it. But to end a queue takes the kernel 40 ms, which a process
that leaves one has to wait for: so the first files go without, and who has no more `give_back`s it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from collections.abc import Sequence

from modeldist.agent.store.write_behind import start_writing
from modeldist.explain.waits import waits_for

_AT_ONCE = 256  # requests the kernel keeps for us; all processes of a machine share 65536 (fs.aio-max-nr)
_FEW = 64  # files after which a queue pays
_FDSYNC = 3  # IOCB_CMD_FDSYNC, linux/aio_abi.h
# io_setup, io_submit, io_getevents, io_destroy: asm/unistd_64.h, asm-generic/unistd.h
_CALLS = {"x86_64": (206, 209, 208, 207), "aarch64": (0, 2, 4, 1)}


@waits_for("disk")
def sync_all(fds: Sequence[int]) -> list[OSError | None]:
    """Each file's data survives a crash when this returns, unless there is an error for it."""
    found: list[OSError | None] = []
    for start in range(0, len(fds), _AT_ONCE):
        some = fds[start : start + _AT_ONCE]
        done = _kept.sync(some) if len(some) > 1 else []
        left = some[len(done) :]
        for fd in left if len(left) > 1 else ():
            start_writing(fd)  # so that each waits for less
        found += [*done, *map(_one, left)]
    return found


def give_back() -> None:
    """No more files come for now. Waits for syncs that go on, and not for the kernel."""
    _kept.give_back()


def _one(fd: int) -> OSError | None:
    try:
        os.fdatasync(fd)
    except OSError as error:
        return error
    return None


class _Request(ctypes.Structure):
    """struct iocb, linux/aio_abi.h, on a little-endian machine."""

    _fields_ = (
        ("data", ctypes.c_uint64),
        ("key", ctypes.c_uint32),
        ("rw_flags", ctypes.c_int32),
        ("operation", ctypes.c_uint16),
        ("priority", ctypes.c_int16),
        ("fd", ctypes.c_uint32),
        ("buffer", ctypes.c_uint64),
        ("bytes", ctypes.c_uint64),
        ("offset", ctypes.c_int64),
        ("reserved", ctypes.c_uint64),
        ("flags", ctypes.c_uint32),
        ("eventfd", ctypes.c_uint32),
    )


class _Event(ctypes.Structure):
    """struct io_event, linux/aio_abi.h."""

    _fields_ = (
        ("data", ctypes.c_uint64),
        ("request", ctypes.c_uint64),
        ("result", ctypes.c_int64),
        ("result2", ctypes.c_int64),
    )


class _Queue:
    """A context of asynchronous I/O, used by one thread at a time. Raises OSError where there is none."""

    def __init__(self, setup: int, submit: int, get_events: int, destroy: int) -> None:
        self._syscall = ctypes.CDLL(None, use_errno=True).syscall
        self._syscall.restype = ctypes.c_long
        self._submit, self._get_events = ctypes.c_long(submit), ctypes.c_long(get_events)
        self._destroy = ctypes.c_long(destroy)
        self._broken = False
        self._context = ctypes.c_ulong(0)
        if self._syscall(ctypes.c_long(setup), ctypes.c_long(_AT_ONCE), ctypes.byref(self._context)):
            raise OSError(ctypes.get_errno(), "no asynchronous I/O")

    def sync(self, fds: Sequence[int]) -> list[OSError | None]:
        count = len(fds)
        requests = (_Request * count)()
        pointers = (ctypes.c_void_p * count)()
        first, size = ctypes.addressof(requests), ctypes.sizeof(_Request)
        for index, fd in enumerate(fds):
            request = requests[index]
            request.data, request.operation, request.fd = index, _FDSYNC, fd
            pointers[index] = first + index * size
        if self._broken:
            return []
        taken: int = self._syscall(self._submit, self._context, ctypes.c_long(count), pointers)
        return self._await(taken) if taken > 0 else []

    def close(self) -> None:
        """Takes the kernel its time."""
        self._syscall(self._destroy, self._context)

    def _await(self, count: int) -> list[OSError | None]:
        found: list[OSError | None] = [None] * count
        events = (_Event * count)()
        left = count
        while left:
            wanted = ctypes.c_long(left)
            got: int = self._syscall(self._get_events, self._context, wanted, wanted, events, None)
            if got < 0:
                if ctypes.get_errno() == errno.EINTR:
                    continue
                self._broken = True  # what we asked for would be answered when something else is
                return []
            for event in events[:got]:
                if event.result < 0:
                    found[event.data] = OSError(-event.result, os.strerror(-event.result))
            left -= got
        return found


class _Kept:
    """The queue of this process, made when it pays. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queue: _Queue | None = None
        self._none = False  # the kernel has no asynchronous I/O for us: sandboxes forbid it
        self._synced = 0

    def sync(self, fds: Sequence[int]) -> list[OSError | None]:
        """As `sync_all`, of as many of the first ones as the kernel takes."""
        with self._lock:
            self._synced += len(fds)
            if self._queue is None and self._synced > _FEW and not self._none:
                self._make()
            return self._queue.sync(fds) if self._queue else []

    def give_back(self) -> None:
        with self._lock:
            queue, self._queue = self._queue, None
            self._synced = 0
        if queue is not None:
            threading.Thread(target=queue.close, name="end of syncs", daemon=True).start()

    def _make(self) -> None:
        calls = _CALLS.get(os.uname().machine)
        try:
            self._queue = _Queue(*calls) if calls else None
        except OSError:
            self._queue = None
        self._none = self._queue is None


_kept = _Kept()
