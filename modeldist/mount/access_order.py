"""In which order a reader first touched what: recorded while it reads, and followed by the next one. Pure.

A mount sees each byte once: what was read stays in the kernel's page cache. So what it sees is the order of first
touches, which is what the next reader of the same model, started cold, waits for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

BLOCK = 4 << 20  # bytes, the smallest piece (ADR 4): a finer record could not change what is asked for
MOST = 1 << 16  # ranges of one record


class Range(NamedTuple):
    """Bytes `start` to `stop` of the snapshot's file `path`."""

    path: str
    start: int
    stop: int


class AccessOrder:
    """`sizes`: the snapshot's files, in bytes by path."""

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self._sizes = sizes
        self._touched: dict[str, int] = defaultdict(int)  # a bit for each block
        self._order: list[Range] = []

    def __bool__(self) -> bool:
        return bool(self._order)

    def note(self, path: str, start: int, stop: int) -> None:
        """A read. Costs nothing for what was read before."""
        first, after = start // BLOCK, -(-stop // BLOCK)
        blocks = (1 << after) - (1 << first)
        fresh = blocks & ~self._touched[path]
        if not fresh:
            return
        self._touched[path] |= blocks
        for block in range(first, after):
            if fresh >> block & 1:
                self._add(path, block)

    def _add(self, path: str, block: int) -> None:
        start, stop = block * BLOCK, min((block + 1) * BLOCK, self._sizes[path])
        if start >= stop:
            return
        if self._order and (last := self._order[-1]).path == path and last.stop == start:
            self._order[-1] = Range(path, last.start, stop)
        elif len(self._order) < MOST:
            self._order.append(Range(path, start, stop))

    def followed_by(self, before: Iterable[Range]) -> tuple[Range, ...]:
        """This order, and then what only the one `before` has: somebody who read one file forgets none of it."""
        whole = AccessOrder(self._sizes)
        for path, start, stop in (*self._order, *before):
            whole.note(path, start, stop)
        return tuple(whole._order)


class _Record(msgspec.Struct, frozen=True):
    digest: str
    reads: tuple[tuple[str, int, int], ...]
    version: int = 1


def encode(digest: str, order: Sequence[Range]) -> bytes:
    return msgspec.json.encode(_Record(digest, tuple(order)))


def decode(data: bytes, digest: str, sizes: Mapping[str, int]) -> tuple[Range, ...]:
    """What `encode` wrote of the artifact `digest`. Raises ValueError for anything else: a record is only a hint, and a
    caller does without."""
    record = msgspec.json.decode(data, type=_Record)
    if record.version != 1 or record.digest != digest:
        raise ValueError(f"it is not of version 1 or not of {digest}")
    order = tuple(Range(*read) for read in record.reads)
    if any(not 0 <= start < stop <= sizes.get(path, 0) for path, start, stop in order):
        raise ValueError("it has ranges that the artifact has not")
    return order
