"""One tensor as its file's header tells of it, and all tensors of a file."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

ReadRange = Callable[[int, int], bytes]
"""`(start, length) -> bytes` of one file, exactly `length` of them."""


class TensorEntry(msgspec.Struct, frozen=True):
    """Its bytes are [start, stop) of the file. `shape`: the outermost dimension first, in elements; `dtype` as the
    file's format calls it."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def size(self) -> int:
        """Bytes."""
        return self.stop - self.start


class FileTensors(msgspec.Struct, frozen=True):
    """All tensors of a file, in the order of their bytes. [0, data_start) is the header, whose `sha256:…` digest says
    later whether it was the file's: a ranged read by itself proves nothing."""

    path: str
    data_start: int
    entries: tuple[TensorEntry, ...]
    header_digest: str = ""
