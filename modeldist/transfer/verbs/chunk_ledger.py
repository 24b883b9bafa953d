"""Which chunks of shards stay registered: those in use, and of the others the most recently used. Pure code."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


@dataclass
class _Chunk:
    length: int
    uses: int = 0
    until: float = 0.0  # while nobody uses it


class ChunkLedger(Generic[K]):
    """`capacity` in bytes: of all chunks together. One that nobody uses is kept for `keep` seconds at most, of any
    monotonic clock."""

    def __init__(self, capacity: int, *, keep: float) -> None:
        self._capacity = capacity
        self._keep = keep
        self._chunks: dict[K, _Chunk] = {}  # least recently used first
        self.uses = 0  # of all chunks, now

    def begin(self, key: K, length: int) -> list[K] | None:
        """Use a chunk once more; those to let go of, which the ledger has forgotten already. None when it does not fit
        beside those in use; then nothing has changed."""
        chunk = self._chunks.get(key)
        dropped: list[K] = []
        if chunk is None:
            excess = sum(other.length for other in self._chunks.values()) + length - self._capacity
            for old, other in self._chunks.items():
                if excess > 0 and not other.uses:
                    dropped.append(old)
                    excess -= other.length
            if excess > 0:
                return None
            chunk = _Chunk(length)
        for old in dropped:
            del self._chunks[old]
        self._chunks.pop(key, None)
        self._chunks[key] = chunk  # now the most recently used
        chunk.uses += 1
        self.uses += 1
        return dropped

    def end(self, key: K, now: float) -> None:
        """One use has ended. Raises KeyError for a chunk that is not in use."""
        chunk = self._chunks[key]
        if not chunk.uses:
            raise KeyError(key)
        chunk.uses -= 1
        chunk.until = now + self._keep
        self.uses -= 1

    def expired(self, now: float) -> list[K]:
        """Those that nobody has used for too long: to be let go of, and forgotten already."""
        old = [key for key, chunk in self._chunks.items() if not chunk.uses and chunk.until <= now]
        for key in old:
            del self._chunks[key]
        return old
