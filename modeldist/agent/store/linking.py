"""Giving a blob a second name: a hard link, else a reflink, else a symlink.

Hard-linked files are read-only, so a program that opens a snapshot's file for writing is refused instead of changing
the store. (root is not refused; and a program may replace the file, which changes only the snapshot.)
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

_FICLONE = 0x40049409  # linux/fs.h: _IOW(0x94, 9, int)


def link_new(blob: str, target: str) -> bool:
    """Make `target` a hard link of `blob`; False where that cannot be or the name is taken: then `link` it."""
    try:
        os.link(blob, target)
    except OSError:
        return False
    return True


def link(blob: Path, target: Path, *, symlink_to: str, scratch: Path) -> None:
    """Make `target` a name of `blob`, replacing at once what is there.

    `scratch` is a free name on the filesystem of `target`; `symlink_to` is what a symlink at `target` would say.
    Raises OSError when not even a symlink can be made.
    """
    if _same_file(blob, target):
        return
    try:
        os.link(blob, scratch)
    except FileNotFoundError:
        raise
    except OSError:  # another filesystem, too many links, a filesystem without links, fs.protected_hardlinks
        if not _reflink(blob, scratch):
            scratch.symlink_to(symlink_to)
    scratch.replace(target)


def _same_file(blob: Path, target: Path) -> bool:
    try:
        return not target.is_symlink() and target.samefile(blob)
    except FileNotFoundError:
        return False


def _reflink(blob: Path, target: Path) -> bool:
    source = os.open(blob, os.O_RDONLY)
    try:
        fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            fcntl.ioctl(fd, _FICLONE, source)
            os.fchmod(fd, 0o444)
        except OSError:
            target.unlink()
            return False
        finally:
            os.close(fd)
    finally:
        os.close(source)
    return True
