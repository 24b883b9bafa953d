"""mount(2) and umount2(2), which Python has not."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_MS_RDONLY, _MS_NOSUID, _MS_NODEV = 1, 2, 4
_MS_REMOUNT, _MS_BIND = 32, 4096
_MNT_DETACH = 2
_CAP_SYS_ADMIN = 21


def may_mount() -> bool:
    """Whether this process has CAP_SYS_ADMIN."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> _CAP_SYS_ADMIN & 1)
    return False


def bind_read_only(source: Path, target: Path) -> None:
    """Have `target` show the directory `source`, read-only. Raises OSError, with nothing mounted."""
    _mount(source, target, _MS_BIND)
    try:
        _mount(None, target, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID | _MS_NODEV)
    except OSError:
        detach(target)
        raise


def detach(target: Path) -> None:
    """Take away what is mounted at `target`, on top; who has files of it open keeps them. Raises OSError."""
    _umount(target, _MNT_DETACH)


def unmount(target: Path) -> None:
    """The same, but OSError (EBUSY) while somebody has files of it open."""
    _umount(target, 0)


def _mount(source: Path | None, target: Path, flags: int) -> None:
    text = None if source is None else os.fsencode(source)
    if _libc().mount(text, os.fsencode(target), None, ctypes.c_ulong(flags), None) != 0:
        _fail(target)


def _umount(target: Path, flags: int) -> None:
    if _libc().umount2(os.fsencode(target), flags) != 0:
        _fail(target)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _fail(target: Path) -> None:
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number), str(target))
