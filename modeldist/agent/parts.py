"""What an artifact takes of its shards where it wants ranges of some: whole pieces, since these are what is proven."""

from __future__ import annotations

from modeldist.artifact import Artifact, Shard
from modeldist.errors import Unsupported
from modeldist.scheduler.pieces import PieceLayout, piece_size_for


def cut(artifact: Artifact, shard: Shard) -> PieceLayout:
    """How a shard is cut before anybody says otherwise: as its chunk table does."""
    chunks = artifact.chunks_of(shard.digest)
    return PieceLayout(shard.size, chunks.chunk_size if chunks else piece_size_for(shard.size))


def wanted_bytes(artifact: Artifact, shard: Shard) -> int:
    """How many bytes of a shard it takes."""
    if not (ranges := artifact.ranges_of(shard.digest)):
        return shard.size
    layout = cut(artifact, shard)
    return layout.bytes_of(layout.touching(ranges))


def wanted_size(artifact: Artifact) -> int:
    """How many bytes it takes in all."""
    return sum(wanted_bytes(artifact, shard) for shard in artifact.shards)


def wanted_ranges(artifact: Artifact, shard: Shard, *, provisional: bool = False) -> tuple[tuple[int, int], ...]:
    """The bytes that are wanted of a shard; none where that is all, or touches every piece. Raises Unsupported where
    nothing proves a part of it, unless it is wanted `provisional`."""
    ranges, layout = artifact.ranges_of(shard.digest), cut(artifact, shard)
    if not ranges or layout.touching(ranges) == layout.all:
        return ()
    if artifact.chunks_of(shard.digest) is None and not provisional:
        raise Unsupported(
            f"{artifact.file_of(shard.digest).path} of {artifact.name} has no chunk table: parts of it cannot be "
            "proven.",
            remedy="Pull the whole file, or have its publisher push it with a chunk table.",
        )
    return ranges
