"""The disk that the store is on: whether it can be written, what is free, how fast it is."""

from __future__ import annotations

import errno
import mmap
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from modeldist.cli.doctor.finding import Finding, fail, ok, warn
from modeldist.units import rate, size

_BLOCK = 4 << 20  # bytes
_MOST = 256 << 20  # bytes that are written to measure
_SECONDS = 2.0  # and for no longer than this, for each way
_LEAST_FREE = 1 << 30  # bytes; no model of any use is smaller
_LITTLE = 0.1  # of the disk
_SLOW = 117e6  # bytes/s; less than 1 Gbit/s brings, so the disk and not the link would set the pace


def store(path: Path) -> Iterator[Finding]:
    """Blocks for some seconds. Leaves nothing there but the directory, if that was missing."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile(dir=path, prefix=".doctor-"):
            pass
    except OSError as error:
        yield fail(
            "store",
            f"The store {path} cannot be written: {error.strerror or error}.",
            "Give this user the directory, or name another with --store (MODELDIST_STORE).",
        )
        return
    yield ok("store", f"The store {path} can be written.")
    free = _free(path)
    yield free
    if (free.value or 0) < 2 * _BLOCK:
        return
    yield from _speeds(path)


def _free(path: Path) -> Finding:
    disk = shutil.disk_usage(path)
    said = f"{size(disk.free)} of {size(disk.total)} are free on the store's disk."
    if disk.free < _LEAST_FREE:
        return fail("free space", said, "Free some: `modeldist gc`, or put the store elsewhere.", disk.free)
    if disk.free < _LITTLE * disk.total:
        return warn("free space", said, "Free some: `modeldist gc`; --high-watermark does it by itself.", disk.free)
    return ok("free space", said, disk.free)


def _speeds(path: Path) -> Iterator[Finding]:
    try:
        written, read, direct = _measure(path)
    except OSError as error:
        yield fail("disk", f"The disk failed while it was measured: {error.strerror or error}.", "Look at `dmesg`.")
        return
    how = "" if direct else " (through the page cache: the file system takes no direct I/O)"
    for name, speed in (("disk write", written), ("disk read", read)):
        said = f"The store's disk {'takes' if name == 'disk write' else 'gives'} {rate(speed)}{how}."
        if speed < _SLOW:
            yield warn(
                name, said, "Put the store on a faster disk (--store), or find out who else uses this one.", speed
            )
        else:
            yield ok(name, said, speed)


def _measure(path: Path) -> tuple[float, float, bool]:
    """(bytes/s written, read, whether past the page cache)."""
    block = mmap.mmap(-1, _BLOCK)  # aligned, as direct I/O wants it
    block.write(os.urandom(1 << 20) * (_BLOCK >> 20))
    room = min(_MOST, shutil.disk_usage(path).free // 4)
    fd, name = tempfile.mkstemp(dir=path, prefix=".doctor-")
    os.close(fd)
    try:
        fd, direct = _opened(name)
        try:
            written, seconds = _blocks(lambda at: os.pwrite(fd, block, at), room, finish=lambda: os.fdatasync(fd))
            if not direct:
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            read, reading = _blocks(lambda at: os.preadv(fd, [block], at), written)
        finally:
            os.close(fd)
    finally:
        Path(name).unlink()
        block.close()
    return written / seconds, read / reading, direct


def _opened(name: str) -> tuple[int, bool]:
    try:
        return os.open(name, os.O_RDWR | os.O_DIRECT), True
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return os.open(name, os.O_RDWR), False


def _blocks(move: Callable[[int], int], most: int, finish: Callable[[], None] = lambda: None) -> tuple[int, float]:
    """(bytes, seconds) of moving whole blocks, one at least."""
    began, done = time.monotonic(), 0
    while True:
        done += move(done)
        if done + _BLOCK > most or time.monotonic() - began > _SECONDS:
            finish()
            return done, max(time.monotonic() - began, 1e-6)
