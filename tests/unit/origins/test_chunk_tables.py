"""What an artifact carries of a chunk table fits into a session's message, whatever a publisher wrote."""

from __future__ import annotations

import msgspec

from modeldist.artifact import Artifact, Digest
from modeldist.origins.chunk_tables import MOST, shard_chunks
from modeldist.session.messages import MAX_MESSAGE, Resolved, encode
from modelpack.chunk_table import MIN_CHUNK, BlobChunks, ChunkTable


def blob(number: int, chunks: int) -> BlobChunks:
    return BlobChunks(f"sha256:{number:064x}", chunks * MIN_CHUNK, MIN_CHUNK, bytes(32 * chunks))


def test_shards_of_one_chunk_need_no_table() -> None:
    table = ChunkTable((blob(1, 1), blob(2, 2), BlobChunks(f"sha512:{0:0128x}", 2 * MIN_CHUNK, MIN_CHUNK, bytes(64))))
    assert [chunks.digest for chunks in shard_chunks(table)] == [blob(2, 2).digest]
    assert shard_chunks(None) == ()


def test_a_table_that_is_too_large_is_carried_in_part() -> None:
    half = MOST // 64 // 2 + 1
    chunks = shard_chunks(ChunkTable((blob(1, 2 * half), blob(2, half), blob(3, 5))))
    assert sum(len(one.digests) for one in chunks) <= MOST
    artifact = Artifact("r", "n", "t", Digest(""), "", "", "oci", "", "", (), chunks=chunks)
    assert len(encode(Resolved(1, artifact))) < MAX_MESSAGE
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(artifact), type=Artifact).chunks == chunks
