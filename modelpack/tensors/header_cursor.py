"""Reading a header of unknown length front to back by ranged reads, each twice as long as the one before."""

from __future__ import annotations

from collections.abc import Callable

from modelpack.tensors.entries import ReadRange

FIRST_READ = 100_000  # bytes
LONGEST_READ = 16 << 20  # bytes


class HeaderCursor:
    """A position in a file of `size` bytes. `refuse` makes the error for a file that ends too early, or whose header
    is longer than `limit` bytes. Nothing is allocated for bytes that the file does not have."""

    def __init__(self, read: ReadRange, size: int, limit: int, refuse: Callable[[str], Exception]) -> None:
        self._read = read
        self._size = size
        self._limit = limit
        self._refuse = refuse
        self._window = b""
        self._start = 0  # of the window in the file
        self._next = FIRST_READ
        self.position = 0

    @property
    def left(self) -> int:
        """Bytes of the file from here on."""
        return self._size - self.position

    def take(self, length: int) -> bytes:
        """The next `length` bytes."""
        offset = self._within(length)
        self.position += length
        return self._window[offset : offset + length]

    def skip(self, length: int) -> None:
        """Past the next `length` bytes, which are not read where they need not be."""
        self._check(length)
        self.position += length

    def _within(self, length: int) -> int:
        """The offset in the window, which has `length` bytes from there on."""
        self._check(length)
        offset = self.position - self._start
        if offset < 0 or offset + length > len(self._window):
            kept = self._window[offset:] if 0 <= offset < len(self._window) else b""
            begin = self.position + len(kept)
            wanted = min(max(length - len(kept), self._next), self._size - begin)
            got = self._read(begin, wanted)
            if len(got) != wanted:
                raise self._refuse("it ends within its header")
            self._window, self._start = kept + got, self.position
            self._next = min(2 * self._next, LONGEST_READ)
            offset = 0
        return offset

    def _check(self, length: int) -> None:
        if length > self.left:
            raise self._refuse("it ends within its header")
        if self.position + length > self._limit:
            raise self._refuse(f"its header is longer than {self._limit} bytes")
