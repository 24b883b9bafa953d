"""Hashing many pieces at once: after a crash, and when a partial shard is cut anew."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from modeldist.agent.store.buffers import blake3_of
from modeldist.scheduler.pieces import PieceLayout, PieceSet

THREADS = 2
_INLINE = 2  # pieces not worth starting threads for


def hash_pieces(fd: int, layout: PieceLayout, pieces: Iterable[int], on_hash: Callable[[int, bytes], None]) -> None:
    """Tell `on_hash` the BLAKE3 of each piece as the file holds it now, read roughly in order of offset.

    `on_hash` is called from this thread alone, in order.
    """
    from concurrent.futures import ThreadPoolExecutor

    wanted = sorted(pieces)

    def one(piece: int) -> bytes:
        return blake3_of(fd, layout.offset(piece), layout.length(piece))

    if len(wanted) <= _INLINE:
        for piece in wanted:
            on_hash(piece, one(piece))
        return
    with ThreadPoolExecutor(THREADS, "recheck") as threads:
        for piece, blake3 in zip(wanted, threads.map(one, wanted), strict=True):
            on_hash(piece, blake3)


def covered(old: PieceLayout, have: PieceSet, new: PieceLayout) -> PieceSet:
    """The pieces of `new` that consist of nothing but `have`, pieces of `old`."""
    if old.size != new.size:
        return PieceSet()
    kept = []
    for piece in range(new.count):
        first = new.offset(piece) // old.piece_size
        last = (new.offset(piece) + new.length(piece) - 1) // old.piece_size
        if not PieceSet.span(first, last - first + 1) - have:
            kept.append(piece)
    return PieceSet.of(kept)
