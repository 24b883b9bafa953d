"""Shards that this node offers to others: complete ones, and those of which it wants no more than it has."""

from __future__ import annotations

from collections.abc import Iterable

from modeldist.agent.store import Store
from modeldist.artifact import Digest, Shard
from modeldist.scheduler.messages import PieceDigest, TaskJoin
from modeldist.scheduler.pieces import PieceSet, piece_size_for


class Offers:
    """What is held, kept in step with the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._held: dict[Digest, Shard] = {}

    def find(self) -> None:
        """Look through the store (blocking)."""
        for stored in self._store.artifacts():
            for shard in stored.artifact.shards:
                if self._holds(shard.digest):
                    self._held[shard.digest] = shard

    def add(self, shard: Shard) -> None:
        self._held[shard.digest] = shard

    def drop_missing(self) -> tuple[Digest, ...]:
        """Forget what left the store; returns it."""
        gone = tuple(digest for digest in self._held if not self._holds(digest))
        for digest in gone:
            del self._held[digest]
        return gone

    def joins(self) -> Iterable[TaskJoin]:
        """How each shard introduces itself to phase 1. Empty shards are nothing to offer."""
        return (self._join(shard) for shard in self._held.values() if shard.size)

    def join(self, shard: Digest) -> TaskJoin | None:
        """How this one introduces itself; None where it is not offered."""
        held = self._held.get(shard)
        return self._join(held) if held is not None and held.size else None

    def _holds(self, shard: Digest) -> bool:
        return self._store.has(shard) or self._store.sparse(shard) is not None

    def _join(self, shard: Shard) -> TaskJoin:
        if (part := self._store.sparse(shard.digest)) is not None:
            have = part.have.to_bytes()
            told = tuple(PieceDigest(piece, digest) for piece, digest in sorted(part.digests.items()))
            piece_size = part.layout.piece_size
            return TaskJoin(shard.digest, shard.size, "", have, told, piece_size, seed_only=True, only=have)
        piece_size, digests = self._store.piece_digests(shard.digest) or (piece_size_for(shard.size), {})
        return TaskJoin(
            shard.digest,
            shard.size,
            "",
            PieceSet.full(-(-shard.size // piece_size)).to_bytes(),
            tuple(PieceDigest(piece, digest) for piece, digest in sorted(digests.items())),
            piece_size=piece_size,
            seed_only=True,
        )
