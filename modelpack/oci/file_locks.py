"""Files that one process at a time may work on, while others wait without a thread."""

from __future__ import annotations

import asyncio
import fcntl
import os
from pathlib import Path

_ASK_AGAIN = 0.1  # seconds between two looks at a lock held by another process


async def lock(descriptor: int) -> None:
    """Wait until the open file is locked for us; closing it gives it up."""
    while not _try_lock(descriptor):  # noqa: ASYNC110 - the kernel has no event for it
        await asyncio.sleep(_ASK_AGAIN)


def still_at(descriptor: int, path: Path) -> bool:
    """Whether `path` leads to the open file: whoever had the lock before may have finished or removed it."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    here = os.fstat(descriptor)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
