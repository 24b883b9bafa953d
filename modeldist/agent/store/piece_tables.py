"""Piece digests of complete shards, so that a node can still prove pieces to its children after a restart.

Written when a shard was proven whole; a table says nothing about content that was not. File: piece size as a
little-endian u64, then 32 bytes of BLAKE3 per piece.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from contextlib import suppress

from modeldist.agent.store.atomic import write_atomically
from modeldist.agent.store.places import Places
from modeldist.artifact import Digest
from modeldist.scheduler.pieces import PieceLayout

_PIECE_SIZE = struct.Struct("<Q")
_DIGEST = 32


class PieceTables:
    """One small file per shard of several pieces, named by its sha256."""

    def __init__(self, places: Places) -> None:
        self._places = places

    def put(self, digest: Digest, layout: PieceLayout, digests: Mapping[int, bytes]) -> None:
        """Nothing is kept for a shard of one piece: its own digest proves it."""
        if layout.count > 1 and len(digests) == layout.count:
            table = _PIECE_SIZE.pack(layout.piece_size) + b"".join(digests[piece] for piece in range(layout.count))
            write_atomically(self._places.piece_table(digest), table, tmp=self._places.tmp, whole=True)

    def get(self, digest: Digest) -> tuple[int, dict[int, bytes]] | None:
        """(piece size, BLAKE3 by piece), None when there is no (whole) table."""
        with suppress(OSError, struct.error):
            data = self._places.piece_table(digest).read_bytes()
            (piece_size,) = _PIECE_SIZE.unpack_from(data)
            rest = data[_PIECE_SIZE.size :]
            if piece_size and len(rest) % _DIGEST == 0:
                return piece_size, {i: rest[i * _DIGEST : (i + 1) * _DIGEST] for i in range(len(rest) // _DIGEST)}
        return None
