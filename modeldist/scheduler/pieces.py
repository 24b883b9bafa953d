"""Pieces: how a shard is cut, and sets of pieces.

A set of pieces is a Python integer used as a bitmap: intersecting the bitmaps of a 140 GB shard (35,000 pieces of
4 MiB) costs about a microsecond, and the wire form is its little-endian bytes.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from modeldist.artifact import Digest, algorithm
from modelpack.chunk_table import chunk_size_for

MIB = 1 << 20
_LINE_SECONDS = 0.02
STRIPE_RUN = 4  # agents and control plane have to agree on it


def piece_size_for(size: int, line_rate: float | None = None) -> int:
    """Bytes per piece for a shard of `size` bytes: 500 to 1,000 pieces, of 256 KiB to 16 MiB, a power of two;
    for a large shard on fast links up to what comes in about 20 ms at `line_rate` bytes/s (None: unknown).

    Small enough that the last piece of a swarm is a small part of the whole (R grows by about one piece time per
    hop), large enough that requests stay few. See docs/adr/0004-piece-size.md.
    """
    chunk = chunk_size_for(size)
    if line_rate is None or chunk < 16 * MIB:
        return chunk
    power = 1 << (max(1, size // 1000) - 1).bit_length()
    return max(chunk, min(power, 1 << (max(1, int(_LINE_SECONDS * line_rate)) - 1).bit_length()))


@dataclass(frozen=True, slots=True)
class PieceLayout:
    """A shard of `size` bytes cut into pieces of `piece_size` bytes; the last may be shorter. An empty one has none."""

    size: int
    piece_size: int

    @property
    def count(self) -> int:
        return -(-self.size // self.piece_size)

    def offset(self, index: int) -> int:
        return index * self.piece_size

    def length(self, index: int) -> int:
        return min(self.piece_size, self.size - index * self.piece_size)

    @property
    def all(self) -> PieceSet:
        return PieceSet.full(self.count)

    def touching(self, ranges: Iterable[tuple[int, int]]) -> PieceSet:
        """The pieces that have a byte in one of the half-open `ranges`. What lies outside the shard counts for none."""
        bits = 0
        for start, stop in ranges:
            if max(start, 0) < min(stop, self.size):
                first, last = max(start, 0) // self.piece_size, (min(stop, self.size) - 1) // self.piece_size
                bits |= ((1 << last - first + 1) - 1) << first
        return PieceSet(bits)

    def ranges(self, pieces: PieceSet) -> tuple[tuple[int, int], ...]:
        """The bytes of a set of pieces as half-open ranges, ascending, as few as there can be."""
        found: list[tuple[int, int]] = []
        bits, base = pieces.bits, 0
        while bits:
            skip = (bits & -bits).bit_length() - 1
            bits >>= skip
            run = (~bits & bits + 1).bit_length() - 1
            start = (base + skip) * self.piece_size
            found.append((start, min(start + run * self.piece_size, self.size)))
            bits >>= run
            base += skip + run
        return tuple(found)

    def run_end(self, have: PieceSet, at: int) -> int:
        """The offset before which all from offset `at` on is in pieces of `have`; `at` where its own is not."""
        piece = at // self.piece_size
        free = ~(have.bits >> piece)
        run = (free & -free).bit_length() - 1
        return max(at, min(self.size, (piece + run) * self.piece_size)) if run else at

    def bytes_of(self, pieces: PieceSet) -> int:
        """Total bytes of a set of pieces."""
        total = len(pieces) * self.piece_size
        if self.count and (self.count - 1) in pieces:
            total -= self.piece_size - self.length(self.count - 1)
        return total


@dataclass(frozen=True, slots=True)
class PieceSet:
    """An immutable set of piece indices."""

    bits: int = 0

    @classmethod
    def of(cls, indices: Iterable[int]) -> PieceSet:
        bits = 0
        for index in indices:
            bits |= 1 << index
        return cls(bits)

    @classmethod
    def full(cls, count: int) -> PieceSet:
        return cls((1 << count) - 1)

    @classmethod
    def span(cls, start: int, count: int) -> PieceSet:
        return cls(((1 << count) - 1) << start)

    @classmethod
    def from_bytes(cls, data: bytes) -> PieceSet:
        return cls(int.from_bytes(data, "little"))

    def to_bytes(self) -> bytes:
        return self.bits.to_bytes(-(-self.bits.bit_length() // 8), "little")

    def __contains__(self, index: int) -> bool:
        return bool(self.bits >> index & 1)

    def __len__(self) -> int:
        return self.bits.bit_count()

    def __bool__(self) -> bool:
        return self.bits != 0

    def __iter__(self) -> Iterator[int]:
        bits = self.bits
        while bits:
            low = bits & -bits
            yield low.bit_length() - 1
            bits ^= low

    def __or__(self, other: PieceSet) -> PieceSet:
        return PieceSet(self.bits | other.bits)

    def __and__(self, other: PieceSet) -> PieceSet:
        return PieceSet(self.bits & other.bits)

    def __sub__(self, other: PieceSet) -> PieceSet:
        return PieceSet(self.bits & ~other.bits)

    def add(self, index: int) -> PieceSet:
        return PieceSet(self.bits | 1 << index)

    def discard(self, index: int) -> PieceSet:
        return PieceSet(self.bits & ~(1 << index))

    def next_from(self, start: int) -> int | None:
        """The first member at or after `start`, wrapping round; None when empty."""
        if not self.bits:
            return None
        rest = self.bits >> start << start
        bits = rest or self.bits
        return (bits & -bits).bit_length() - 1


@lru_cache(maxsize=1024)
def every(index: int, count: int, total: int) -> int:
    """Bitmap of the pieces below `total` with `piece % count == index`."""
    return sum(1 << piece for piece in range(index % count, total, count))


def stripe_of(piece: int, count: int, total: int) -> int:
    """Which of `count` stripes a piece of a shard of `total` belongs to: runs of a few pieces, so that one origin read
    brings several; but what is left over in the end goes round piece by piece, so that all stripes end together."""
    whole = total - total % (STRIPE_RUN * count)
    return piece // STRIPE_RUN % count if piece < whole else (piece - whole) % count


@lru_cache(maxsize=1024)
def stripe(index: int, count: int, total: int) -> int:
    """Bitmap of the pieces below `total` of one of `count` stripes."""
    return sum(1 << piece for piece in range(total) if stripe_of(piece, count, total) == index)


def random_member(bits: int, rng: random.Random) -> int:
    """A member of a non-empty bitmap: the first at or after a random index between the first and the last. Cheap rather
    than uniform."""
    rest = bits >> (start := rng.randrange((bits & -bits).bit_length() - 1, bits.bit_length()))
    return start + (rest & -rest).bit_length() - 1


def proves_itself(shard: Digest, layout: PieceLayout) -> bool:
    """One piece, whose content the shard's own digest proves, so that nobody has to tell its piece's. An etag proves
    nothing."""
    return layout.count == 1 and algorithm(shard) != "etag"
