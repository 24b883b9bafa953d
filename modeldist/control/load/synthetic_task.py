"""Shard tasks that nobody has the bytes of: a digest, a size, and a made-up digest for each piece."""

from __future__ import annotations

import hashlib

from modeldist.artifact import Digest
from modeldist.scheduler.messages import PieceDigest
from modeldist.scheduler.pieces import PieceLayout, PieceSet, piece_size_for


class SyntheticTask:
    """`warm`: a swarm holds it from the start; otherwise the first to join finds nobody there."""

    def __init__(self, name: str, size: int, origin: str, *, warm: bool) -> None:
        self.digest = Digest(f"sha256:{hashlib.sha256(name.encode()).hexdigest()}")
        self.size = size
        self.origin = origin
        self.warm = warm
        self.layout = PieceLayout(size, piece_size_for(size))
        self.all = self.layout.all.bits
        self._digests: list[PieceDigest] = []

    def digests(self, pieces: int) -> tuple[PieceDigest, ...]:
        """Those of a bitmap of pieces: the same whoever tells them."""
        if not self._digests:
            seed = self.digest.encode()
            self._digests = [
                PieceDigest(piece, hashlib.blake2s(seed + piece.to_bytes(4, "little")).digest())
                for piece in range(self.layout.count)
            ]
        return tuple(self._digests) if pieces == self.all else tuple(self._digests[piece] for piece in PieceSet(pieces))
