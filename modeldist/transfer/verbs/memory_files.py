"""Files in memory: which are, and mapped with all their pages."""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from functools import cache
from pathlib import Path

_TMPFS = 0x01021994  # statfs(2), TMPFS_MAGIC
_POPULATE_WRITE = 23  # madvise(2), since Linux 5.14


def in_memory(path: str | Path) -> bool:
    """Whether the file is on tmpfs, whose pages stay where they are when a device is given them. False where that
    cannot be found out.

    hugetlbfs would do as well, but takes neither write(2) nor files that are not whole huge pages: no store lies there.
    """
    found = ctypes.create_string_buffer(256)  # a struct statfs has 120 bytes
    if _libc().statfs(os.fsencode(path), found) != 0:
        return False
    kind = found.raw[: ctypes.sizeof(ctypes.c_long)]  # f_type comes first
    return int.from_bytes(kind, sys.byteorder) == _TMPFS


def mapped(path: str | Path, start: int, length: int) -> mmap.mmap:
    """A range of the file, writable and shared, its pages in the page table. That takes as long as to copy them, and is
    done here since it does not hold the interpreter, as a registration does. Raises OSError, ValueError."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        pages = mmap.mmap(fd, length, offset=start)
    finally:
        os.close(fd)
    address = ctypes.addressof(ctypes.c_char.from_buffer(pages))
    _libc().madvise(ctypes.c_void_p(address), ctypes.c_size_t(length), _POPULATE_WRITE)  # or else the registration does
    return pages


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
