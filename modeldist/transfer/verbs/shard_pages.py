"""Shards on tmpfs, exposed where they lie: the file's own pages are registered, in chunks, and nothing is copied.

Registered pages are locked. A chunk stays registered while a part of it is exposed, and for a while after, as long as
all chunks fit into the memory given for them. A shard's file may lose its names meanwhile, but must not shrink: the
store gives it its full size before it holds any piece.
"""

from __future__ import annotations

import logging
import mmap
import os
import threading
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from modeldist.transfer.verbs.chunk_ledger import ChunkLedger
from modeldist.transfer.verbs.memory_files import in_memory, mapped
from rdma import RdmaError, RegistrationRefused
from rdma.interface import Memory, OpenDevice

KEEP = 10.0  # seconds that an unused chunk stays locked, and with it the memory of a shard that was deleted
_PARTS_PER_CHUNK = 4  # at least: registering holds the interpreter
_MOST_CHUNKS = 256  # each holds a descriptor

log = logging.getLogger(__name__)


class NotInPlace(Exception):
    """These bytes have to be copied to be exposed."""


class _Chunk(NamedTuple):
    """Of a file that is the one of its inode while it is mapped."""

    device: int
    inode: int
    start: int
    length: int


class PagesPart:
    """`length` bytes from `offset` of a chunk's `memory`, its holder's until `release`."""

    def __init__(self, memory: Memory, offset: int, length: int, release: Callable[[], None]) -> None:
        self.memory = memory
        self.offset = offset
        self.length = length
        self.release = release


class ShardPages:
    """Of one device. `memory` in bytes: registered at most; `slot` in bytes: the longest part; `parts`: exposed at a
    time. `keep` in seconds, of `clock`. Any thread."""

    def __init__(
        self,
        device: OpenDevice,
        *,
        memory: int,
        slot: int,
        parts: int,
        keep: float = KEEP,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._device = device
        self._slot = slot
        self._credit = parts
        self._chunk = slot * min(memory // slot, max(_PARTS_PER_CHUNK, memory // slot // _MOST_CHUNKS))
        self._clock = clock
        self._lock = threading.Lock()
        self._ledger: ChunkLedger[_Chunk] = ChunkLedger(memory, keep=keep)
        self._registered: dict[_Chunk, Memory] = {}
        self._refused = self._chunk % mmap.ALLOCATIONGRANULARITY != 0
        self._closed = False

    @property
    def free(self) -> int:
        """Parts that may be exposed beside those that are."""
        return self._credit - self._ledger.uses

    def take(self, fd: int, start: int, most: int) -> PagesPart | None:
        """The file's bytes from `start`, `most` of them or as many as there are in one part; None while too many parts
        are exposed. Raises NotInPlace when they must be copied: the file is not in memory, or may not be mapped, or is
        shorter; the device registers none; all chunks that there is memory for are in use."""
        path = f"/proc/self/fd/{fd}"
        if self._device.gone or not self._chunk or not in_memory(path):
            raise NotInPlace
        found = os.fstat(fd)
        offset = start % self._chunk
        length = min(most, self._slot, self._chunk - offset)
        whole = min(self._chunk, found.st_size - (start - offset))
        if offset + length > whole:
            raise NotInPlace
        chunk = _Chunk(found.st_dev, found.st_ino, start - offset, whole)
        with self._lock:
            if self._refused or self._closed:
                raise NotInPlace
            if self._ledger.uses >= self._credit:
                return None
            dropped = self._ledger.begin(chunk, whole)
            if dropped is None:
                raise NotInPlace
            self._close(dropped)
            memory = self._registered.get(chunk)
        if memory is None:
            try:
                memory = self._register(path, chunk)
            except BaseException:
                self._give_back(chunk)
                raise
        return PagesPart(memory, offset, length, lambda: self._give_back(chunk))

    def _register(self, path: str, chunk: _Chunk) -> Memory:
        """A chunk in use; another thread may be about it too. The mapping has to be writable, though nobody writes: see
        `OpenDevice.register`."""
        try:
            pages = mapped(path, chunk.start, chunk.length)
            with self._lock:
                if self._closed:
                    raise NotInPlace
                if chunk not in self._registered:
                    self._registered[chunk] = self._device.register(memoryview(pages), readable_only=True)
                return self._registered[chunk]
        except RegistrationRefused as refused:
            if not self._refused:
                self._refused = True
                log.warning("shards in memory are copied to be read by RDMA: %s %s", refused, refused.remedy)
            raise NotInPlace from refused
        except (OSError, ValueError, RdmaError) as error:
            raise NotInPlace from error

    def _close(self, chunks: Iterable[_Chunk]) -> None:
        """With the lock. One that could not be registered is only in the ledger."""
        for chunk in chunks:
            if memory := self._registered.pop(chunk, None):
                memory.close()

    def _give_back(self, chunk: _Chunk) -> None:
        with self._lock:
            if not self._closed:
                self._ledger.end(chunk, self._clock())

    def let_go_of_unused(self) -> None:
        """To be called now and then."""
        with self._lock:
            self._close(self._ledger.expired(self._clock()))

    def close(self) -> None:
        """The device is closed: nobody reads any more."""
        with self._lock:
            self._closed = True
            self._close(list(self._registered))
