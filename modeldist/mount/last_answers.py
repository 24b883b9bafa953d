"""What readers get once the process that served a mount was killed: EIO, each of them, for certain.

The kernel keeps a FUSE connection while somebody has its descriptor. When nobody has, it answers by itself, and as it
likes: ECONNABORTED to who was waiting, ENOTCONN to who comes later, EIO to some. So a small process of its own has the
descriptor too. It sleeps until the server is gone and then answers all that is asked, until the mount is taken away.

It runs as a program, without this package (`python -I -S`): it is there for as long as the mount is, and shall be
small. Numbers and layouts are those of linux/fuse.h.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import struct
import sys
import threading
from contextlib import suppress
from pathlib import Path

_MISC, _FUSE = 10, 229  # /dev/fuse: major and minor number
_IN = struct.Struct("=IIQ24x")  # of a request: length, what is asked, its number
_OUT = struct.Struct("=IiQ")  # of an answer: length, error, number
_FORGET, _FLUSH, _INIT, _INTERRUPT, _BATCH_FORGET = 2, 25, 26, 36, 42
_UNANSWERED = (_FORGET, _BATCH_FORGET, _INTERRUPT)
# What begins a connection: version 7.31, no features, writes of at least 4096 bytes.
_BEGUN = struct.pack("=IIIIHHII32x", 7, 31, 0, 0, 0, 0, 4096, 1)
_RESEND = 7  # a notification, from Linux 6.9 on: ask again what was not answered
_STEP = 2  # from one request's number to the next
_BUFFER = 2 << 20  # bytes; grows where the kernel wants to have room for more
_LOOK = 0.1  # seconds


def start(directory: Path) -> int | None:
    """For the mount at `directory` that this process serves. A descriptor to be closed when it does not any more, as it
    is when this process ends; None where it cannot be had, and the kernel will answer. Inherits nothing else."""
    import subprocess

    if not sys.executable or (device := _device()) is None:
        return None
    gone, alive = os.pipe()
    try:
        subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-I", "-S", __file__, str(device), str(gone), str(directory)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(device, gone),
            start_new_session=True,  # a ^C is meant for the server
            cwd="/",
        )
    except OSError:
        os.close(alive)
        return None
    finally:
        os.close(gone)
    return alive


def _device() -> int | None:
    """The one connection of this process."""
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            about = os.fstat(int(entry.name))
            if stat.S_ISCHR(about.st_mode) and about.st_rdev == os.makedev(_MISC, _FUSE):
                return int(entry.name)
    return None


class LastAnswers:
    """On the connection `device`, when nobody else serves it any more. `resend`: whether to try that."""

    def __init__(self, device: int, directory: str, *, resend: bool = True) -> None:
        self._device = device
        self._directory = directory
        self._resend = resend
        self._buffer = bytearray(_BUFFER)

    def give(self) -> None:
        """Returns when it is unmounted, or when it cannot be said who still waits: the kernel then tells them."""
        swept = self._resend and self._resent()
        asks = None if swept else self._ask()
        while True:
            if not self._asked(None if asks is None else _LOOK):
                if asks is not None and not asks.is_alive():
                    return  # another mount lies above: nobody can be made to ask here
                continue
            if (request := self._next()) is None:
                continue
            number, asked = request
            if asks is not None and asked != _INTERRUPT:
                asks = None
                self._sweep(number)
            if asked == _INIT:  # it was killed at once; refused, nobody could be told EIO any more
                self._answer(number, 0, _BEGUN)
            elif asked not in _UNANSWERED:
                self._answer(number, 0 if asked == _FLUSH else -errno.EIO)

    def _resent(self) -> bool:
        """What the server had taken and not answered is asked again. False: this kernel cannot."""
        try:
            os.write(self._device, _OUT.pack(_OUT.size, _RESEND, 0))
        except OSError as error:
            return error.errno != errno.EINVAL
        return True

    def _ask(self) -> threading.Thread:
        """Have the kernel ask something: its number is higher than that of all that the server took."""

        def ask() -> None:
            with suppress(OSError):
                os.statvfs(self._directory)

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        return thread

    def _sweep(self, number: int) -> None:
        """Fail whatever was asked before `number` and not answered. Most of these numbers mean nothing any more."""
        for earlier in range(_STEP, number & ~1, _STEP):
            self._answer(earlier, -errno.EIO)

    def _asked(self, seconds: float | None) -> bool:
        watched = select.poll()
        watched.register(self._device, select.POLLIN)
        return bool(watched.poll(None if seconds is None else seconds * 1000))

    def _next(self) -> tuple[int, int] | None:
        """The number of a request, and what it asks. Raises OSError (ENODEV) once it is unmounted."""
        try:
            count = os.readv(self._device, [self._buffer])
        except OSError as error:
            if error.errno == errno.EINVAL and len(self._buffer) < 1 << 30:
                self._buffer = bytearray(2 * len(self._buffer))
            elif error.errno not in (errno.EAGAIN, errno.EINTR, errno.ENOENT):  # ENOENT: nobody waits for it any more
                raise
            return None
        if count < _IN.size:
            return None
        _, asked, number = _IN.unpack_from(self._buffer)
        return number, asked

    def _answer(self, number: int, error: int, data: bytes = b"") -> None:
        try:
            os.write(self._device, _OUT.pack(_OUT.size + len(data), error, number) + data)
        except OSError as failure:
            if failure.errno not in (errno.ENOENT, errno.EINTR):  # ENOENT: nobody waits for it
                raise


def _main() -> None:
    device, gone, directory = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    os.read(gone, 1)  # returns when the server's end is closed
    with suppress(OSError):
        LastAnswers(device, directory).give()


if __name__ == "__main__":
    _main()
