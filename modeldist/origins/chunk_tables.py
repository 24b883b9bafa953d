"""The chunk table of a model on its way into the artifact: checked by modelpack, cut to what the engine needs."""

from __future__ import annotations

from modeldist.artifact import Digest, ShardChunks
from modelpack.chunk_table import ChunkTable


def shard_chunks(table: ChunkTable | None) -> tuple[ShardChunks, ...]:
    """Shards of one chunk or none are left out: their own digest proves as much."""
    blobs = table.blobs if table else ()
    return tuple(
        ShardChunks(Digest(blob.digest), blob.chunk_size, blob.digests)
        for blob in blobs
        if blob.count > 1 and blob.digest.startswith("sha256:")
    )
