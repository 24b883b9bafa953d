"""Where the content of complete shards may be cut (`modelpack.chunk_index`), so that for the next version of a model
they need not be read to find that out.

A hint: who takes bytes by it proves them. File: the setting and the number of chunks as little-endian u64, then the
lengths as u32 and the marks as u64.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from contextlib import suppress

from modeldist.agent.store.atomic import write_atomically
from modeldist.agent.store.blobs import Blobs
from modeldist.agent.store.places import Places
from modeldist.artifact import Digest
from modelpack.chunk_index import SEGMENT, Cuts, cut, joined, little_endian, numbers_of

_HEAD = struct.Struct("<QQ")


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
        self.put(content, average, whole)
        return whole


def _fill(fd: int, buffer: memoryview, start: int) -> int:
    """Read until the buffer is full or the file ends."""
    count = 0
    while count < len(buffer) and (got := os.preadv(fd, [buffer[count:]], start + count)):
        count += got
    return count
