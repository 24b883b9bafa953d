"""The filesystem: what FUSE asks, answered from the tree and from the files as they arrive.

Nothing here ever changes, so the kernel may remember names, attributes and pages for ever. A read of what is here is
answered at once from the page cache, and by a thread where the disk must be waited for; a read of what is missing waits
in a thread of its own, so that it holds up nobody.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pyfuse3
import trio

from modeldist.errors import IntegrityError, ModeldistError, StorageError
from modeldist.logger import Logger
from modeldist.mount.access_order import AccessOrder
from modeldist.mount.asking import Asking
from modeldist.mount.readable import ReadableFile
from modeldist.mount.tree import Entry, Tree

log = Logger(__name__)

FOR_EVER = 1e6  # seconds
BUFFER = 1 << 20  # bytes; the kernel's largest request
WAITING = 4096  # reads that may wait at once
READING = 16  # threads that wait for the disk
BLOCK = 4096


@dataclass(frozen=True)
class Owner:
    """Whose the files are, and when they came to be (nanoseconds since the epoch)."""

    uid: int
    gid: int
    since: int


class Serving(pyfuse3.Operations):  # type: ignore[misc]
    """`tell` is given what a person must know. `only_proven`: bytes are readable only once their whole file is proven,
    where no chunk table proves them piece by piece."""

    def __init__(
        self,
        tree: Tree,
        files: Mapping[str, ReadableFile],
        asking: Asking[Any],
        order: AccessOrder,
        owner: Owner,
        tell: Callable[[str], None],
        *,
        only_proven: bool = False,
    ) -> None:
        super().__init__()
        self._tree = tree
        self._files = files
        self._asking = asking
        self._order = order
        self._owner = owner
        self._tell = tell
        self._only_proven = only_proven
        self._told: set[str] = set()
        self._buffers: list[bytearray] = []
        self._waiting = trio.CapacityLimiter(WAITING)
        self._reading = trio.CapacityLimiter(READING)
        self.complete = False
        """All of it is here and proven: nothing need be asked any more."""

    # --- names and attributes ---

    async def lookup(self, parent_inode: int, name: bytes, ctx: Any) -> Any:
        parent = self._entry(parent_inode)
        text = os.fsdecode(name)
        if text in (".", ".."):
            return self._attributes(parent if text == "." else self._entry(parent.parent))
        if (found := self._tree.look_up(parent_inode, text)) is None:
            raise pyfuse3.FUSEError(errno.ENOENT)
        return self._attributes(found)

    async def getattr(self, inode: int, ctx: Any) -> Any:
        return self._attributes(self._entry(inode))

    async def opendir(self, inode: int, ctx: Any) -> int:
        return inode

    async def readdir(self, fh: int, start_id: int, token: Any) -> None:
        for at, entry in enumerate(self._tree.folder(fh), 1):
            name = os.fsencode(entry.name)
            if at > start_id and not pyfuse3.readdir_reply(token, name, self._attributes(entry), at):
                return

    async def releasedir(self, fh: int) -> None:
        pass

    async def statfs(self, ctx: Any) -> Any:
        found = pyfuse3.StatvfsData()
        found.f_bsize = found.f_frsize = BLOCK
        found.f_blocks = -(-self._tree.size // BLOCK)
        found.f_files = len(self._tree.entries)
        found.f_namemax = 255
        return found

    def _entry(self, inode: int) -> Entry:
        found = self._tree.entries.get(inode)
        if found is None:
            raise pyfuse3.FUSEError(errno.ENOENT)
        return found

    def _attributes(self, entry: Entry) -> Any:
        found = pyfuse3.EntryAttributes()
        found.st_ino = entry.inode
        if entry.folder:
            found.st_mode = stat.S_IFDIR | 0o555
        else:
            found.st_mode = stat.S_IFREG | (0o555 if entry.executable else 0o444)
        found.st_nlink = self._tree.links(entry)
        found.st_size = entry.size
        found.st_blocks = -(-entry.size // 512)
        found.st_blksize = BUFFER  # what cp and cat then read at a time
        found.st_uid, found.st_gid = self._owner.uid, self._owner.gid
        found.st_atime_ns = found.st_mtime_ns = found.st_ctime_ns = self._owner.since
        found.entry_timeout = found.attr_timeout = FOR_EVER
        return found

    # --- bytes ---

    async def open(self, inode: int, flags: int, ctx: Any) -> Any:
        if flags & os.O_ACCMODE != os.O_RDONLY:
            raise pyfuse3.FUSEError(errno.EROFS)
        return pyfuse3.FileInfo(fh=self._entry(inode).inode, keep_cache=True)

    async def release(self, fh: int) -> None:
        pass

    async def read(self, fh: int, off: int, size: int) -> bytes | memoryview:
        path = self._entry(fh).path
        file = self._files[path]
        stop = min(off + size, file.size)
        if off >= stop:
            return b""
        try:
            while True:
                if not self.complete:
                    await self._arrived(file, off, stop)
                with file.reading() as fd:
                    found = await self._bytes(fd, off, stop)
                # Should it have been taken back meanwhile, or be read from somewhere else now, that was nothing.
                if self.complete or file.ready(off) >= stop:
                    return found
        except ModeldistError as error:
            self._failed(path, error)
        except OSError as error:
            self._failed(path, StorageError(f"It cannot be read: {error}."))
        except Exception as error:  # a bug must not end everybody's mount
            log.exception("a read failed unexpectedly", path=path)
            self._failed(path, ModeldistError(f"{type(error).__name__}: {error}.", remedy="Please report it."))
        raise pyfuse3.FUSEError(errno.EIO)

    async def _arrived(self, file: ReadableFile, start: int, stop: int) -> None:
        if file.ready(start) >= stop and not (self._only_proven and not file.proven):
            self._asking.read(file.path, start, stop)
        else:
            wait = file.wait_proven if self._only_proven else lambda: file.wait(start, stop)
            with self._asking.waiting(file.path, start, stop):
                await self._wait(wait)
        if stop == file.size and not file.proven and file.ready() >= stop:
            # Who reads a file to its end, all of which is here, learns there whether it is what it should be.
            await self._wait(file.wait_proven)
        self._order.note(file.path, start, stop)

    async def _wait(self, wait: Callable[[], None]) -> None:
        await trio.to_thread.run_sync(wait, abandon_on_cancel=True, limiter=self._waiting)

    async def _bytes(self, fd: int, start: int, stop: int) -> memoryview:
        """pyfuse3 hands them to the kernel before anything else runs, so their buffer can be used again at once."""
        size = stop - start
        buffer = self._buffers.pop() if self._buffers and size <= BUFFER else bytearray(max(size, BUFFER))
        view = memoryview(buffer)[:size]
        have = _read_cached(fd, view, start)
        if have < size:
            await trio.to_thread.run_sync(_read_all, fd, view[have:], start + have, limiter=self._reading)
        if len(buffer) == BUFFER:
            self._buffers.append(buffer)
        return view

    def _failed(self, path: str, error: ModeldistError) -> None:
        """Readers get EIO and no word of why: say it here, once."""
        log.warning("a read failed", path=path, error=str(error))
        if (text := f"{path}: input/output error for its readers: {error}") not in self._told:
            self._told.add(text)
            self._tell(text)
        if isinstance(error, IntegrityError):
            for entry in self._tree.entries.values():
                if entry.path == path:
                    self._forget(entry.inode)

    def _forget(self, inode: int) -> None:
        """What the kernel keeps of a file was wrong. In a thread: it waits for reads that are answered here."""

        def forget() -> None:
            with suppress(OSError):  # the kernel had nothing
                pyfuse3.invalidate_inode(inode)

        threading.Thread(target=forget, name="forget wrong bytes", daemon=True).start()


def _read_cached(fd: int, view: memoryview, start: int) -> int:
    """As much as can be had without waiting for the disk."""
    try:
        return os.preadv(fd, [view], start, os.RWF_NOWAIT)
    except OSError:  # EAGAIN: none; EOPNOTSUPP: this filesystem cannot tell
        return 0


def _read_all(fd: int, view: memoryview, start: int) -> None:
    """Raises OSError, also where the file ends before."""
    while view:
        count = os.preadv(fd, [view], start)
        if not count:
            raise OSError(errno.EIO, "it is shorter in the store than it should be")
        view, start = view[count:], start + count
