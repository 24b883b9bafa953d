"""Where the content of complete shards may be cut (`modelpack.chunk_index`), so that for the next version of a model
they need not be read to find that out.

A hint: who takes bytes by it proves them. File: the setting and the number of chunks as little-endian u64, then the
lengths as u32 and the marks as u64.
"""

from __future__ import annotations

import os
import struct
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from modeldist.agent.store.atomic import write_atomically
from modeldist.agent.store.blobs import Blobs
from modeldist.agent.store.places import Places
from modeldist.artifact import Digest
from modelpack.chunk_index import SEGMENT, Cuts, cut, joined, little_endian, numbers_of

_HEAD = struct.Struct("<QQ")
_ABSENT = 0  # the mark of what is not here; whoever takes it for a chunk's finds out by its piece's digest
_LONGEST = 1 << 30  # bytes of such a one


class KnownCuts:
    """One small file per shard, named by its sha256. Thread-safe."""

    def __init__(self, places: Places, blobs: Blobs) -> None:
        self._places = places
        self._blobs = blobs

    def put(self, digest: Digest, average: int, cuts: Cuts) -> None:
        """Of a shard with a sha256 digest. Raises OSError."""
        head = _HEAD.pack(average, len(cuts.lengths))
        content = head + little_endian(cuts.lengths) + little_endian(cuts.marks)
        write_atomically(self._places.cuts(digest), content, tmp=self._places.tmp, whole=True)

    def get(self, digest: Digest, average: int) -> Cuts | None:
        """None where they are not known by this setting."""
        if (content := self._blobs.sha256(digest)) is None:
            return None
        with suppress(OSError, struct.error, ValueError):
            data = self._places.cuts(content).read_bytes()
            found, count = _HEAD.unpack_from(data)
            if found == average and len(data) == _HEAD.size + 12 * count:
                middle = _HEAD.size + 4 * count
                return Cuts(numbers_of("I", data[_HEAD.size : middle]), numbers_of("Q", data[middle:]))
        return None

    def find(self, digest: Digest, average: int, stopped: Callable[[], bool]) -> Cuts | None:
        """By reading the shard, and kept. None where it is not complete here, or `stopped` says so. Raises OSError."""
        content = self._blobs.sha256(digest)
        if content is None or (path := self._blobs.path(digest)) is None:
            return None
        parts: list[Cuts] = []
        buffer = memoryview(bytearray(SEGMENT))
        with path.open("rb", buffering=0) as file:
            while count := _fill(file.fileno(), buffer, len(parts) * SEGMENT):
                if stopped():
                    return None
                parts.append(cut(buffer[:count], average))
        whole = joined(parts)
        with suppress(OSError):  # then it is read again for the next version
            self.put(content, average, whole)
        return whole


def find_parts(
    path: Path, size: int, ranges: Iterable[tuple[int, int]], average: int, stopped: Callable[[], bool]
) -> Cuts | None:
    """Of a file of `size` bytes of which only `ranges` (half-open, ascending) are there, by reading them: chunks as of
    the whole but for a few at the ends, and between them some that are like none. None where `stopped` says so. Raises
    OSError."""
    parts: list[Cuts] = []
    buffer = memoryview(bytearray(SEGMENT))
    at = 0
    with path.open("rb", buffering=0) as file:
        for start, stop in ranges:
            parts.append(_absent(start - at))
            for begin, end in _segments(start, stop):
                if stopped():
                    return None
                count = _fill(file.fileno(), buffer[: end - begin], begin)
                parts += [cut(buffer[:count], average), _absent(end - begin - count)]
            at = stop
    return joined([*parts, _absent(size - at)])


def _segments(start: int, stop: int) -> Iterator[tuple[int, int]]:
    while start < stop:
        end = min(stop, (start // SEGMENT + 1) * SEGMENT)
        yield start, end
        start = end


def _absent(count: int) -> Cuts:
    lengths = [min(_LONGEST, count - at) for at in range(0, count, _LONGEST)]
    return Cuts(array("I", lengths), array("Q", [_ABSENT] * len(lengths)))


def _fill(fd: int, buffer: memoryview, start: int) -> int:
    """Read until the buffer is full or the file ends."""
    count = 0
    while count < len(buffer) and (got := os.preadv(fd, [buffer[count:]], start + count)):
        count += got
    return count
