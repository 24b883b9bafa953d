"""Folders whose files do not share a part of the disk.

ext4 reuses no inode for some minutes after it was removed, and looks through all of those in the part of the disk
where a folder is, for each new file: after a test run has removed some thousands, a file costs ten times as much to
make (350 µs instead of 30). A run would be judged by what ran before it.
"""

from __future__ import annotations

import fcntl
import os
import struct
from contextlib import suppress
from pathlib import Path

# linux/fs.h
_GET_FLAGS, _SET_FLAGS = 0x80086601, 0x40086602
_TOP_DIRECTORY = 0x20000


def far_apart(directory: Path) -> None:
    """New folders in `directory` get a part of the disk each, where the filesystem knows of such things."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):
            flags = struct.unpack("l", fcntl.ioctl(fd, _GET_FLAGS, bytes(struct.calcsize("l"))))[0]
            fcntl.ioctl(fd, _SET_FLAGS, struct.pack("l", flags | _TOP_DIRECTORY))
    finally:
        os.close(fd)
