"""Shards of which a node holds pieces and wants no more: the partial files behind snapshots of a selection.

Such a file is of full size, with holes, and has a second name in the snapshot, so a loader reads its part of each
tensor as from the whole file. It is no blob: the journal beside it says which pieces are there, each by its digest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from modeldist.agent.store.homes import read_settled
from modeldist.agent.store.journal import Header, parse
from modeldist.agent.store.linking import link
from modeldist.agent.store.places import Places
from modeldist.agent.store.recheck import covered
from modeldist.agent.store.selections import SparseFile
from modeldist.artifact import Digest
from modeldist.scheduler.pieces import PieceLayout, PieceSet

READ_ONLY = 0o444


@dataclass(frozen=True)
class SparseShard:
    """`path` is the data file; `digests` are BLAKE3 of the pieces that are there, as its journal has them."""

    digest: Digest
    path: Path
    layout: PieceLayout
    digests: Mapping[int, bytes]

    @property
    def have(self) -> PieceSet:
        return PieceSet.of(self.digests)

    @property
    def ranges(self) -> tuple[tuple[int, int], ...]:
        """The bytes that are there, half-open."""
        return self.layout.ranges(self.have)

    @property
    def bytes(self) -> int:
        return self.layout.bytes_of(self.have)

    def as_file(self) -> SparseFile:
        """As a snapshot's list of sparse files has it."""
        return SparseFile(self.layout.size, self.ranges)

    def link(self, target: Path, scratch: Path) -> None:
        """Make `target` a name of the file, or a copy that shares its blocks, else a symlink. `scratch` is a free name
        on the filesystem of `target`. Raises OSError."""
        self.path.chmod(READ_ONLY)
        target.parent.mkdir(parents=True, exist_ok=True)
        link(self.path, target, symlink_to=str(self.path), scratch=scratch)

    def covers(self, ranges: Iterable[tuple[int, int]]) -> bool:
        """Whether all bytes of `ranges` are there."""
        return not self.layout.touching(ranges) - self.have


def sparse_shard(places: Places, digest: Digest) -> SparseShard | None:
    """What was settled of a shard, and is there by its journal; None where nothing is."""
    folder = places.partial(digest)
    if (settled := read_settled(folder)) is None:
        return None
    try:
        contents = parse((folder / "journal").read_bytes())
    except OSError:
        return None
    if contents is None or contents.header.digest != digest or not contents.pieces:
        return None
    layout, (piece_size, pieces) = _layout(contents.header), settled
    if not _has_size(folder / "data", layout.size):  # a crash left what spoke of it
        return None
    proven = covered(PieceLayout(layout.size, piece_size), pieces, layout)
    digests = {piece: blake3 for piece, blake3 in contents.pieces.items() if piece in proven}
    return SparseShard(digest, folder / "data", layout, digests) if digests else None


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False


def _layout(header: Header) -> PieceLayout:
    return PieceLayout(header.size, header.piece_size)
