"""Bytes of an arriving file into memory."""

from __future__ import annotations

import os

from modeldist.arriving.file import ArrivingFile
from modeldist.errors import StorageError

_AT_ONCE = 1 << 30  # bytes; the kernel reads no more than 2 GiB


def read_into(file: ArrivingFile, start: int, into: memoryview) -> None:
    """As many bytes as `into` has, from `start` on, which are `ready`. Raises StorageError where the file ends before.
    The interpreter is free meanwhile."""
    fd, at = file.fd, 0
    while at < len(into):
        got = os.preadv(fd, [into[at : at + _AT_ONCE]], start + at)
        if not got:
            raise StorageError(f"{file.path} is shorter in the store than it should be.", remedy="modeldist verify")
        at += got
