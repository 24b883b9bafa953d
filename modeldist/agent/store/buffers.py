"""The memory of all hashing: a handful of reused 1 MiB buffers, read into with pread.

Not mmap: mapped pages of a 100 GB shard would count as this process's memory. Not fresh buffers: allocating costs more
than hashing.
"""

from __future__ import annotations

import os
import queue
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from blake3 import blake3

SIZE = 1 << 20
COUNT = 8

_free: queue.LifoQueue[bytearray | None] = queue.LifoQueue()
for _ in range(COUNT):
    _free.put(None)  # allocated when first wanted


@contextmanager
def buffer() -> Iterator[memoryview]:
    """Borrow a buffer; waits when all are lent. A borrower must not borrow a second one."""
    store = _free.get()
    if store is None:
        store = bytearray(SIZE)
    try:
        yield memoryview(store)
    finally:
        _free.put(store)


def chunks(fd: int, offset: int, length: int) -> Iterator[memoryview]:
    """The bytes of the file's range, at most `SIZE` at a time, each valid until the next. Ends early at end of file."""
    end = offset + length
    with buffer() as view:
        while offset < end:
            count = os.preadv(fd, [view[: min(SIZE, end - offset)]], offset)
            if count == 0:
                return
            yield view[:count]
            offset += count


def blake3_of(fd: int, offset: int, length: int) -> bytes:
    """BLAKE3 of the file's range as it is now. Releases the GIL."""
    hasher = piece_hash()
    for chunk in chunks(fd, offset, length):
        hasher.update(chunk)
    return hasher.digest()


def piece_hash() -> blake3:
    """A fresh BLAKE3, which stays in the thread that updates it."""
    from blake3 import blake3  # a look at what is here must not wait for it

    return blake3(max_threads=1)
