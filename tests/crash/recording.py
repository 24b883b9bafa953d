"""Every effect on a file system that this process has below one folder, in the order it had them.

Python reaches the system through `os`; `open` is replaced by the one of `_pyio`, which is made of `os`. Bytes that the
kernel moves (splice, copy_file_range) are read back. Whether anything got past it shows when the effects, replayed,
are not the real tree: `tests/crash/test_crash_recording.py`. Blocks that are allocated through libc are zeros already,
and a sync that it did not see would only make the disks that are tried worse than they can be.
"""

from __future__ import annotations

import _pyio
import builtins
import io
import os
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from modeldist.agent.store import sync_many
from tests.crash.effects import (
    ROOT,
    Attributes,
    Effect,
    Log,
    Made,
    Named,
    Renamed,
    Resized,
    Synced,
    Unnamed,
    Written,
)

_REAL = {name: getattr(os, name) for name in dir(os) if callable(getattr(os, name))}


@contextmanager
def recording(root: Path) -> Iterator[Log]:
    """Of `root`, which is a folder."""
    recorder = _Recorder(root)
    with ExitStack() as patches:
        for name in _REAL:
            if (wrapper := getattr(recorder, name, None)) is not None and not name.startswith("_"):
                patches.enter_context(mock.patch.object(os, name, _locked(recorder, wrapper)))
        queue_sync = sync_many._Queue.sync
        patches.enter_context(
            mock.patch.object(sync_many._Queue, "sync", lambda queue, fds: recorder.sync_many(queue_sync, queue, fds))
        )
        patches.enter_context(mock.patch.object(io, "open", _pyio.open))
        patches.enter_context(mock.patch.object(builtins, "open", _pyio.open))
        yield recorder.log


def _locked(recorder: _Recorder, wrapper: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **named: Any) -> Any:
        with recorder.lock:
            return wrapper(*args, **named)

    return call


class _Recorder:
    """Its public methods stand in for those of `os` with the same names."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self.lock = threading.RLock()
        self.log = Log()
        self._known: dict[tuple[int, int], int] = {}
        self._next = ROOT
        self._take_in(self.root)

    def _take_in(self, path: str) -> int:
        """What is there already."""
        found = os.lstat(path)
        if (found.st_dev, found.st_ino) in self._known:
            return self._known[found.st_dev, found.st_ino]
        inode = self._new(found)
        log = self.log
        if stat.S_ISDIR(found.st_mode):
            log.kinds[inode] = Made(inode, "folder")
            log.names[inode] = {
                name: self._take_in(f"{path}/{name}") for name in sorted(each.name for each in Path(path).iterdir())
            }
        elif stat.S_ISLNK(found.st_mode):
            log.kinds[inode] = Made(inode, "symlink", str(Path(path).readlink()))
        else:
            log.kinds[inode] = Made(inode, "file")
            log.contents[inode] = Path(path).read_bytes()
            log.modes[inode] = stat.S_IMODE(found.st_mode)
        return inode

    def _new(self, found: os.stat_result) -> int:
        inode, self._next = self._next, self._next + 1
        self._known[found.st_dev, found.st_ino] = inode
        return inode

    def _add(self, *effects: Effect) -> None:
        self.log.effects += effects

    # --- what is meant ---

    def _at(self, path: Any, dir_fd: int | None) -> tuple[int, str] | None:
        """(folder, name); None where it is not below the root."""
        place, name = os.path.split(os.fsdecode(os.fspath(path)).rstrip("/"))
        try:
            found = _REAL["stat"](place or ".", dir_fd=dir_fd)
        except OSError:
            return None
        inside = _REAL["readlink"](f"/proc/self/fd/{dir_fd}") if dir_fd is not None and place[:1] != "/" else place
        if not inside.startswith(self.root):
            return None
        folder = self._known.get((found.st_dev, found.st_ino))
        return None if folder is None else (folder, name)

    def _inode(self, path: Any, dir_fd: int | None = None, *, follow: bool = True) -> int | None:
        if isinstance(path, int):
            return self._of(path)
        text = os.fsdecode(os.fspath(path))
        if text.startswith("/proc/self/fd/"):
            return self._of(int(text.rpartition("/")[2]))
        if dir_fd is None and not text.startswith(self.root):
            return None
        try:
            found = _REAL["stat"](path, dir_fd=dir_fd, follow_symlinks=follow)
        except OSError:
            return None
        return self._known.get((found.st_dev, found.st_ino))

    def _of(self, fd: int) -> int | None:
        try:
            if not _REAL["readlink"](f"/proc/self/fd/{fd}").startswith(self.root):
                return None
        except OSError:
            return None
        found = _REAL["fstat"](fd)
        return self._known.get((found.st_dev, found.st_ino))

    # --- names ---

    def open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            fd: int = _REAL["open"](path, flags, mode, dir_fd=dir_fd)
            if self._inode(path, dir_fd) is not None:
                self._made(_REAL["fstat"](fd))
            return fd
        if not flags & (os.O_CREAT | os.O_TRUNC):
            return _REAL["open"](path, flags, mode, dir_fd=dir_fd)
        there = os.path.lexists(path) if dir_fd is None else self._inode(path, dir_fd, follow=False) is not None
        at = self._at(path, dir_fd)
        fd = _REAL["open"](path, flags, mode, dir_fd=dir_fd)
        if at is not None and not there:
            self._add(Named(*at, self._made(_REAL["fstat"](fd))))
        elif flags & os.O_TRUNC and (inode := self._of(fd)) is not None:
            self._add(Resized(inode, 0))
        return fd

    def _made(self, found: os.stat_result) -> int:
        inode = self._new(found)
        if stat.S_ISDIR(found.st_mode):
            self._add(Made(inode, "folder"))
        else:
            self._add(Made(inode, "file"), Attributes(inode, stat.S_IMODE(found.st_mode)))
        return inode

    def mkdir(self, path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        at = self._at(path, dir_fd)
        _REAL["mkdir"](path, mode, dir_fd=dir_fd)
        if at is not None:
            self._add(Named(*at, self._made(_REAL["stat"](path, dir_fd=dir_fd))))

    def symlink(self, src: Any, dst: Any, target_is_directory: bool = False, *, dir_fd: int | None = None) -> None:
        _REAL["symlink"](src, dst, target_is_directory, dir_fd=dir_fd)
        if (at := self._at(dst, dir_fd)) is not None:
            inode = self._new(_REAL["lstat"](dst, dir_fd=dir_fd))
            self._add(Made(inode, "symlink", os.fsdecode(src)), Named(*at, inode))

    def link(self, src: Any, dst: Any, *, dst_dir_fd: int | None = None, **named: Any) -> None:
        _REAL["link"](src, dst, dst_dir_fd=dst_dir_fd, **named)
        if (at := self._at(dst, dst_dir_fd)) is not None:
            inode = self._inode(dst, dst_dir_fd, follow=False)
            assert inode is not None, f"{src} came from elsewhere"
            self._add(Named(*at, inode))

    def rename(self, src: Any, dst: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None) -> None:
        before, inode = self._at(src, src_dir_fd), self._inode(src, src_dir_fd, follow=False)
        _REAL["rename"](src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        if before is not None:
            after = self._at(dst, dst_dir_fd)
            assert after is not None and inode is not None, f"{src} went elsewhere"
            self._add(Renamed(*before, *after, inode))

    replace = rename

    def unlink(self, path: Any, *, dir_fd: int | None = None) -> None:
        at = self._at(path, dir_fd)
        _REAL["unlink"](path, dir_fd=dir_fd)
        if at is not None:
            self._add(Unnamed(*at))

    remove = unlink

    def rmdir(self, path: Any, *, dir_fd: int | None = None) -> None:
        at = self._at(path, dir_fd)
        _REAL["rmdir"](path, dir_fd=dir_fd)
        if at is not None:
            self._add(Unnamed(*at))

    # --- content ---

    def write(self, fd: int, data: Any) -> int:
        inode = self._of(fd)
        start = self._position(fd) if inode is not None else 0
        count: int = _REAL["write"](fd, data)
        if inode is not None:
            self._add(Written(inode, start, bytes(memoryview(data).cast("B")[:count])))
        return count

    def writev(self, fd: int, buffers: Any) -> int:
        return (
            self.write(fd, b"".join(map(bytes, buffers))) if self._of(fd) is not None else _REAL["writev"](fd, buffers)
        )

    def _position(self, fd: int) -> int:
        import fcntl

        if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_APPEND:
            return int(_REAL["fstat"](fd).st_size)
        return int(os.lseek(fd, 0, os.SEEK_CUR))

    def pwrite(self, fd: int, data: Any, offset: int) -> int:
        count: int = _REAL["pwrite"](fd, data, offset)
        self._written(fd, offset, count)
        return count

    def pwritev(self, fd: int, buffers: Any, offset: int, flags: int = 0) -> int:
        count: int = _REAL["pwritev"](fd, buffers, offset, flags)
        self._written(fd, offset, count)
        return count

    def splice(
        self, src: int, dst: int, count: int, offset_src: Any = None, offset_dst: Any = None, flags: int = 0
    ) -> int:
        start = offset_dst
        if start is None and self._of(dst) is not None:
            start = self._position(dst)
        moved: int = _REAL["splice"](src, dst, count, offset_src, offset_dst, flags)
        self._written(dst, start, moved)
        return moved

    def copy_file_range(self, src: int, dst: int, count: int, offset_src: Any = None, offset_dst: Any = None) -> int:
        start = self._position(dst) if offset_dst is None else offset_dst
        moved: int = _REAL["copy_file_range"](src, dst, count, offset_src, offset_dst)
        self._written(dst, start, moved)
        return moved

    def sendfile(self, out_fd: int, in_fd: int, *args: Any, **named: Any) -> int:
        start = self._position(out_fd) if self._of(out_fd) is not None else 0
        moved: int = _REAL["sendfile"](out_fd, in_fd, *args, **named)
        self._written(out_fd, start, moved)
        return moved

    def _written(self, fd: int, offset: int, count: int) -> None:
        if (inode := self._of(fd)) is None or not count:
            return
        again = _REAL["open"](f"/proc/self/fd/{fd}", os.O_RDONLY)
        try:
            self._add(Written(inode, offset, os.pread(again, count, offset)))
        finally:
            os.close(again)

    def ftruncate(self, fd: int, length: int) -> None:
        _REAL["ftruncate"](fd, length)
        if (inode := self._of(fd)) is not None:
            self._add(Resized(inode, length))

    def truncate(self, path: Any, length: int) -> None:
        _REAL["truncate"](path, length)
        if (inode := self._inode(path)) is not None:
            self._add(Resized(inode, length))

    def posix_fallocate(self, fd: int, offset: int, length: int) -> None:
        _REAL["posix_fallocate"](fd, offset, length)
        if (inode := self._of(fd)) is not None:
            self._add(Resized(inode, _REAL["fstat"](fd).st_size))

    # --- attributes, syncs ---

    def chmod(self, path: Any, mode: int, *, dir_fd: int | None = None, follow_symlinks: bool = True) -> None:
        _REAL["chmod"](path, mode, dir_fd=dir_fd, follow_symlinks=follow_symlinks)
        if (inode := self._inode(path, dir_fd)) is not None:
            self._add(Attributes(inode, mode))

    def fchmod(self, fd: int, mode: int) -> None:
        _REAL["fchmod"](fd, mode)
        if (inode := self._of(fd)) is not None:
            self._add(Attributes(inode, mode))

    def utime(self, path: Any, times: Any = None, **named: Any) -> None:
        _REAL["utime"](path, times, **named)
        if (inode := self._inode(path, named.get("dir_fd"))) is not None:
            found = _REAL["stat"](path, dir_fd=named.get("dir_fd"))
            self._add(Attributes(inode, times=(found.st_atime_ns, found.st_mtime_ns)))

    def fsync(self, fd: Any) -> None:
        _REAL["fsync"](fd)
        if (inode := self._of(fd if isinstance(fd, int) else fd.fileno())) is not None:
            self._add(Synced(inode))

    def fdatasync(self, fd: Any) -> None:
        _REAL["fdatasync"](fd)
        if (inode := self._of(fd if isinstance(fd, int) else fd.fileno())) is not None:
            self._add(Synced(inode))

    def sync_many(self, sync: Callable[..., list[OSError | None]], queue: object, fds: Sequence[int]) -> Any:
        """By the kernel's asynchronous I/O."""
        with self.lock:
            done = sync(queue, fds)
            for fd, error in zip(fds, done, strict=False):
                if error is None and (inode := self._of(fd)) is not None:
                    self._add(Synced(inode))
            return done
