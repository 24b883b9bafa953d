"""Both digests of a piece in one pass over its bytes, while whoever received them has them in hand."""

from __future__ import annotations

from modeldist.agent.store.buffers import piece_hash
from modeldist.agent.store.follower import Follower, Hashes
from modeldist.explain.waits import waits_for


class PieceHash:
    """BLAKE3 of one piece, and the digests of the whole shard with it where they have come as far as its first byte.

    Satisfies `modeldist.transfer.base.Hash`. For one thread. `start`: the piece's first byte in the shard.
    """

    def __init__(self, follower: Follower, start: int) -> None:
        self._follower = follower
        self._start = start
        self._seen = 0
        self._blake3 = piece_hash()
        self._whole: Hashes | None = None

    @waits_for("verify")
    def update(self, data: memoryview) -> None:
        if not self._seen:  # not earlier: the pieces before it are on their way when this one is asked for
            self._whole = self._follower.up_to(self._start)
        self._blake3.update(data)
        if self._whole is not None:
            self._whole.update(data)
        self._seen += len(data)

    def digest(self) -> bytes:
        """BLAKE3"""
        return self._blake3.digest()

    def keep(self) -> None:
        """What was seen is the piece, in its place in the file: the digests of the whole need not read it."""
        if self._whole is not None:
            self._follower.go_on(self._whole, self._start, self._start + self._seen)
