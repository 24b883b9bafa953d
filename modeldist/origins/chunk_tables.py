"""The chunk table of a model on its way into the artifact: checked by modelpack, cut to what the engine needs."""

from __future__ import annotations

from modeldist.artifact import Digest, Shard, ShardChunks
from modelpack.chunk_index import MAX_INDEX_BYTES
from modelpack.chunk_table import ChunkTable

MOST = 32 << 20
"""Bytes of digests that an artifact carries: of 16 TB in chunks of 16 MiB. A session's message takes twice as many."""


def shard_chunks(table: ChunkTable | None) -> tuple[ShardChunks, ...]:
    """Shards of one chunk or none are left out: their own digest proves as much. So are those that come after `MOST`:
    they are proven only as a whole."""
    found: list[ShardChunks] = []
    left = MOST
    for blob in table.blobs if table else ():
        if blob.count > 1 and blob.digest.startswith("sha256:") and len(blob.digests) <= left:
            left -= len(blob.digests)
            found.append(ShardChunks(Digest(blob.digest), blob.chunk_size, blob.digests))
    return tuple(found)


def index_shard(table: ChunkTable | None) -> Shard | None:
    """The blob of its chunk index, where it has one that is read."""
    if table is None or table.index is None or table.index.size > MAX_INDEX_BYTES:
        return None
    return Shard(Digest(table.index.digest), table.index.size)
