"""Which files lie in memory."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from pathlib import Path

_TMPFS = 0x01021994  # statfs(2), TMPFS_MAGIC


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


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
