"""Registered memory."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable
from typing import Any

_HUGE = 2 << 20  # bytes of a huge page on x86-64 and, with 4 KiB pages, on arm64
_MAP_HUGETLB = 0x40000  # mmap(2)


class VerbsMemory:
    """`region` is pyverbs' MR or DmaBufMR; `address` is what work requests call its first byte."""

    def __init__(
        self, region: Any, address: int, length: int, view: memoryview | None, on_close: Callable[[VerbsMemory], None]
    ) -> None:
        self.region = region
        self.address = address
        self.length = length
        self.view = view
        self.lkey: int = region.lkey
        self._on_close = on_close
        self._open = True

    def close(self) -> None:
        if self._open:
            self._open = False
            self.region.close()
            self._on_close(self)


def anonymous(length: int) -> mmap.mmap:
    """Zeroed memory in huge pages where the system has reserved any, else in pages that it may make huge."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    if length % _HUGE == 0:
        try:
            return mmap.mmap(-1, length, flags=flags | _MAP_HUGETLB)
        except OSError:
            pass  # none reserved, or fewer
    pages = mmap.mmap(-1, length, flags=flags)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        pages.madvise(mmap.MADV_HUGEPAGE)
    return pages


def address_of(view: memoryview) -> int:
    """Where a writable buffer lies."""
    return ctypes.addressof(ctypes.c_char.from_buffer(view))
