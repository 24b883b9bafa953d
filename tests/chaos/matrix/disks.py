"""A disk of one's own: ext4 in a file, behind a loop device. It can be filled, frozen, cut off and damaged."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from tests.netlab.namespaces import LabError, run

_SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN, linux/fs/ext4/ext4.h: _IOR('X', 125, __u32)
_WITHOUT_A_FLUSH = 2  # EXT4_GOING_FLAGS_NOLOGFLUSH
_FREEZE, _THAW = 0xC0045877, 0xC0045878  # FIFREEZE, FITHAW, linux/fs.h
_EVERY = 64 * 1024  # bytes, of which one is changed
_PATIENCE = 10.0  # seconds until nobody has anything open
_FILLER = "filler"


class Disk:
    """`image` is the file, `path` where it is mounted. `whole`: its `size` is taken at once from the disk under it, so
    that no write to it fails because others filled that one; else it grows as it is written. Raises OSError where there
    is no room for it."""

    def __init__(self, image: Path, path: Path, size: int, *, whole: bool = False) -> None:
        self.image = image.resolve()  # as the kernel calls it
        self.path = path
        with image.open("wb") as file:
            file.truncate(size)
        run("mkfs.ext4", "-q", "-F", "-m", "0", "-E", f"lazy_itable_init={int(not whole)}", str(image))
        if whole:  # now that mkfs has made its holes; nobody makes others in a disk that is mounted without `discard`
            with image.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, size)
        path.mkdir()
        self.mount()

    def mount(self) -> None:
        if not self.path.is_mount():
            run("mount", "-o", "loop", str(self.image), str(self.path))

    def unmount(self) -> None:
        """Whoever had files open on it has ended, or is about to."""
        deadline = time.monotonic() + _PATIENCE
        while self.path.is_mount():
            try:
                run("umount", str(self.path))
            except LabError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def cut_off(self) -> None:
        """Every call fails from now on until it is mounted again, and what was not synced is lost."""
        self._tell(_SHUTDOWN, struct.pack("I", _WITHOUT_A_FLUSH))

    def freeze(self) -> None:
        """Who writes waits."""
        self._tell(_FREEZE, struct.pack("I", 0))

    def thaw(self) -> None:
        with contextlib.suppress(OSError):  # it was not frozen
            self._tell(_THAW, struct.pack("I", 0))

    def fill(self) -> None:
        """Take all that is free. Raises OSError where it is not mounted: what it lies on is another's to fill."""
        with self._opened() as folder:
            filler = os.open(_FILLER, os.O_CREAT | os.O_WRONLY, dir_fd=folder)
        try:
            size = 1 << 20
            end = 0
            while size >= 1 << 12:
                try:
                    os.posix_fallocate(filler, end, size)
                    end += size
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    size //= 2
        finally:
            os.close(filler)

    def empty(self) -> None:
        """Undo `fill`. Raises OSError where it is not mounted."""
        with self._opened() as folder, contextlib.suppress(FileNotFoundError):
            os.unlink(_FILLER, dir_fd=folder)

    def _tell(self, request: int, argument: bytes) -> None:
        with self._opened() as folder:
            fcntl.ioctl(folder, request, argument)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        """Its root, as a descriptor: a path may lead to what it lies on by the time it is used."""
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            if (there := _image_of(folder)) != self.image:
                raise OSError(f"{self.image} is not mounted at {self.path}: {there or 'another disk'} is there")
            yield folder
        finally:
            os.close(folder)


def _image_of(folder: int) -> Path | None:
    """The file behind the loop device that a directory lies on; None where it lies on another device."""
    device = os.fstat(folder).st_dev
    told = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/loop/backing_file")
    try:
        return Path(told.read_text().rstrip("\n"))
    except FileNotFoundError:
        return None


def damage(path: Path) -> None:
    """Change a byte in each 64 KiB of a file, and give its times back: as a disk forgets. Twice, and it is right."""
    try:
        found = path.stat()
        file = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return
    try:
        for at in range(1000 % max(1, found.st_size), found.st_size, _EVERY):
            byte = os.pread(file, 1, at)
            os.pwrite(file, bytes([byte[0] ^ 0xFF]), at)
    finally:
        os.close(file)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def unmount_below(folder: Path) -> None:
    """What a run that was killed left mounted."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in reversed(mounts):
        if Path(mount).is_relative_to(folder):
            run("umount", "-l", mount)
