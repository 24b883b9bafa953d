"""Local directories an origin may read, and copying out of them.

An agent learns paths from the network (references, artifacts of its control plane), so every path is checked when it
is opened, after symbolic links: the file descriptor itself must lie under an allowed root.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from modeldist.errors import AccessDenied, IntegrityError, NotEnoughSpace, NotFound, OriginUnavailable, StorageError
from modeldist.file_failures import is_full, of_a_file
from modeldist.origins.base import OnBytes

_STEP = 1 << 20  # bytes between two calls of on_bytes
_NO_KERNEL_COPY = frozenset({errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM})


@dataclass(frozen=True)
class LocalPaths:
    """`roots` None: any path (embedded mode); otherwise only what lies under one of them."""

    roots: tuple[Path, ...] | None

    def check(self, path: Path) -> Path:
        """The path with symbolic links resolved. Raises NotFound, AccessDenied."""
        self._named_inside(path)
        try:
            real = path.resolve(strict=True)
        except OSError as error:
            raise cannot_open(path, error) from error
        except RuntimeError as error:  # what Python before 3.13 makes of a loop of links
            raise cannot_open(path, OSError(errno.ELOOP, str(error))) from error
        self._inside(path, real)
        return real

    @contextmanager
    def open(self, path: Path) -> Iterator[int]:
        """A descriptor of a regular file. Raises NotFound, AccessDenied, OriginUnavailable, StorageError."""
        self._named_inside(path)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # O_NONBLOCK: a FIFO must not hang us
        except OSError as error:
            raise cannot_open(path, error) from error
        try:
            self._inside(path, Path(f"/proc/self/fd/{fd}").readlink())
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise NotFound(f"{path} is no regular file.", remedy="Name a file or a directory of files.")
            yield fd
        finally:
            os.close(fd)

    def _named_inside(self, path: Path) -> None:
        """Before anything is looked up: nobody learns what exists outside the roots."""
        self._inside(path, Path(os.path.realpath(path)))

    def _inside(self, path: Path, real: Path) -> None:
        if self.roots is None:
            return
        if not any(real.is_relative_to(root.resolve()) for root in self.roots):
            raise AccessDenied(
                f"{path} is outside the directories that models may be read from.",
                remedy="Name its directory with --file-root, for the control plane and its agents, or use a registry.",
            )


def copy_range(source: int, start: int, length: int, fd: int, offset: int, on_bytes: OnBytes, label: str) -> None:
    """Copy between descriptors in the kernel (a reflink where the file system can), else through a buffer.

    Not by sendfile: that would move `fd`'s own position, which threads share. Raises IntegrityError when the source
    is shorter than announced.
    """
    buffer: memoryview | None = None
    while length > 0:
        step = min(length, _STEP)
        try:
            if buffer is None:
                copied = os.copy_file_range(source, fd, step, start, offset)
            else:
                got = os.preadv(source, [buffer[:step]], start)
                copied = os.pwrite(fd, buffer[:got], offset) if got else 0
        except OSError as error:
            if buffer is None and error.errno in _NO_KERNEL_COPY:
                buffer = memoryview(bytearray(_STEP))
                continue
            raise _copy_failed(error, label) from error
        if not copied:
            raise changed(label)
        start, offset, length = start + copied, offset + copied, length - copied
        on_bytes(copied)


def changed(label: str) -> IntegrityError:
    return IntegrityError(f"{label}: changed while being read.", remedy="Pull it again to get the new content.")


def cannot_open(path: Path, error: OSError) -> NotFound | AccessDenied | OriginUnavailable | StorageError:
    """What failing to open or list `path` means."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG):
        return NotFound(f"{path} does not exist.", remedy="Check the path.")
    if error.errno in (errno.EACCES, errno.EPERM):
        return AccessDenied(f"{path} may not be read by this user.", remedy="Change its permissions.")
    said = f"{path} cannot be opened: {error.strerror}."
    if error.errno in (errno.EMFILE, errno.ENFILE):  # of this process or machine, whatever it was to open
        return of_a_file(error, said, forbidden="", otherwise="")
    return OriginUnavailable(said, remedy="Check the file system.")


def _copy_failed(error: OSError, label: str) -> OriginUnavailable | NotEnoughSpace | StorageError:
    if is_full(error):
        return NotEnoughSpace(
            f"{label}: the disk is full.", remedy="Free space (modeldist gc) and pull again; what is here is kept."
        )
    if error.errno == errno.EIO:
        return OriginUnavailable(f"{label}: cannot be read or written: {error.strerror}.", remedy="Check the disks.")
    return StorageError(f"{label}: copying failed: {error.strerror}.", remedy="Check the disk of the store.")
