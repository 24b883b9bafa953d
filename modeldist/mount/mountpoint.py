"""A directory to mount at, and how it becomes free again, whatever state a killed mount left it in."""

from __future__ import annotations

import errno
import os
import subprocess
from contextlib import suppress
from pathlib import Path

from modeldist.errors import MountFailed
from modeldist.mount import syscalls
from modeldist.mount.mount_table import OURS, Mounted, mounted_at
from modeldist.mount.place import Place

LEAVING = 20.0  # seconds for whoever served a directory to be gone after it was unmounted


def prepare(directory: Path, place: Place) -> bool:
    """Have an empty directory there, for the holder of the place's lock. Makes it where there is none. Whether
    something was left of a mount that was killed, and is taken away. Raises MountFailed."""
    left = mounted_at(directory)
    ours = any(mounted.type == OURS for mounted in left)
    if ours and (_dead(directory, errno.EIO) or _shows(directory, left[-1], place)):
        # Nobody has the lock of this store for it: whoever served it was killed.
        while left and any(mounted.type == OURS for mounted in left):
            _take_away(directory, left[-1], lazy=True)
            left = mounted_at(directory)
        place.clear()
    elif ours:
        raise served(directory, next(mounted.source for mounted in left if mounted.type == OURS))
    elif left and _dead(directory):
        raise MountFailed(
            f"{directory} is a dead mount ({left[-1].type}) of another program.", remedy=f"umount -l {directory}"
        )
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with os.scandir(directory) as entries:
            occupied = next(entries, None)
    except OSError as error:
        raise MountFailed(
            f"{directory} is no directory to mount at: {error.strerror}.", remedy="Name an empty directory."
        ) from None
    if occupied is not None:
        raise MountFailed(
            f"{directory} is not empty: what is in it would be hidden.", remedy="Name an empty directory."
        )
    return ours


def unmount(directory: Path, place: Place, *, lazy: bool) -> None:
    """Take our mount away, and wait until whoever served it is gone; if `lazy`, also while files of it are open, which
    it serves on. Raises MountFailed: there is none, or it is in use."""
    left = mounted_at(directory)
    if not any(mounted.type == OURS for mounted in left):
        what = f"has a mount of type {left[-1].type} that is not modeldist's" if left else "is not mounted"
        raise MountFailed(f"{directory} {what}.", remedy="`findmnt -t fuse.modeldist` lists what is.")
    while left and any(mounted.type == OURS for mounted in left):
        _take_away(directory, left[-1], lazy=lazy)
        left = mounted_at(directory)
    if not lazy and place.wait_left(LEAVING):
        place.clear()


def served(directory: Path, source: str) -> MountFailed:
    """Another process serves this directory."""
    return MountFailed(f"{directory} is a mount of {source} already.", remedy=f"`modeldist unmount {directory}` first.")


def _shows(directory: Path, top: Mounted, place: Place) -> bool:
    """Whether these are the files that a mount of this store shows directly, and not of another one that is alive."""
    with suppress(OSError):
        return top.type != OURS and directory.samefile(place.files)
    return False


def _dead(directory: Path, *also: int) -> bool:
    """Whether what is mounted there has lost who served it. Of ours EIO says that, too: see `last_answers`."""
    try:
        os.statvfs(directory)
    except OSError as error:
        return error.errno in (errno.ENOTCONN, errno.ECONNABORTED, errno.ESHUTDOWN, *also)
    return False


def _take_away(directory: Path, mounted: Mounted, *, lazy: bool) -> None:
    """The topmost mount, unless somebody else was faster."""
    try:
        if syscalls.may_mount():
            (syscalls.detach if lazy else syscalls.unmount)(directory)
        else:
            _fusermount(directory, lazy=lazy)
    except OSError as error:
        if mounted not in mounted_at(directory):
            return
        if error.errno == errno.EBUSY:
            raise MountFailed(
                f"{directory} is in use.",
                remedy=f"`fuser -vm {directory}` says by whom; --lazy takes it away all the same: they keep what they "
                "have open.",
            ) from None
        raise MountFailed(f"{directory} cannot be unmounted: {error.strerror}.", remedy="Unmount it as root.") from None


def _fusermount(directory: Path, *, lazy: bool) -> None:
    """Raises OSError."""
    command = ["fusermount3", "-u", *(["-z"] if lazy else []), str(directory)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    except FileNotFoundError:
        raise OSError(errno.ENOENT, "fusermount3 is not installed") from None
    if done.returncode:
        said = done.stderr.strip()
        raise OSError(errno.EBUSY if "busy" in said else errno.EPERM, said or f"{command[0]} failed")
