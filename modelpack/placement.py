"""A second name for a file's bytes: reflink where the file system has it, else hard link, else copy.

Small files are copied rather than linked: they cost next to nothing, and they are what people edit in place.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import Literal

Placement = Literal["reflink", "hardlink", "copy"]

_FICLONE = 0x40049409  # linux/fs.h
_SMALL = 1024 * 1024  # bytes


def place_file(source: Path, target: Path) -> Placement:
    """Make `target` (in an existing directory) hold what `source` holds, atomically; replaces what is there.

    A reflink or copy is independent of `source` from then on; a hard link is the same file. Raises OSError.
    """
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".new-") as room:
        staged = Path(room) / "blob"
        how = _stage(source, staged)
        staged.replace(target)
    return how


def _stage(source: Path, staged: Path) -> Placement:
    if _reflink(source, staged):
        return "reflink"
    staged.unlink()
    if source.stat().st_size <= _SMALL:
        shutil.copyfile(source, staged)
        return "copy"
    try:
        staged.hardlink_to(source)
    except OSError:  # another file system, or links are forbidden there
        shutil.copyfile(source, staged)
        return "copy"
    return "hardlink"


def _reflink(source: Path, staged: Path) -> bool:
    with source.open("rb") as origin, staged.open("xb") as clone:
        try:
            fcntl.ioctl(clone.fileno(), _FICLONE, origin.fileno())
        except OSError:
            return False
        os.fsync(clone.fileno())
    return True
