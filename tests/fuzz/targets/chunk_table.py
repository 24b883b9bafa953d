"""Chunk tables: what is read is written as the same table, and its arithmetic holds for every blob."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

from modelpack.chunk_table import (
    CHUNK_TABLE_TYPE,
    DIGEST_BYTES,
    BlobChunks,
    ChunkTable,
    chunk_digests,
    encode_table,
    parse_table,
)
from modelpack.digests import sha256_digest
from tests.fuzz.target import Target, json_words
from tests.refusals import value_of

MIB = 1024 * 1024


def seeds() -> Iterator[bytes]:
    data = bytes(150_000)
    blob = BlobChunks(sha256_digest(data), len(data), 65_536, chunk_digests(data, 65_536))
    empty = BlobChunks(sha256_digest(b""), 0, MIB, b"")
    yield encode_table(ChunkTable((blob, empty)))
    yield encode_table(ChunkTable(()))
    document = {"schemaVersion": 1, "mediaType": CHUNK_TABLE_TYPE, "algorithm": "blake3", "blobs": [], "later": {}}
    yield json.dumps(document | {"schemaVersion": True}).encode()
    one = {"digest": blob.digest, "size": 2**63 - 1, "chunkSize": 2**26, "chunks": "AAAA"}
    yield json.dumps(document | {"blobs": [one, one]}).encode()


def check(data: bytes) -> None:
    table = value_of(partial(parse_table, data), naming="chunk table")
    if table is None:
        return
    written = encode_table(table)
    assert parse_table(written) == table
    assert encode_table(parse_table(written)) == written
    for blob in table.blobs:
        assert table.of(blob.digest) == blob
        check_blob(blob)
    value_of(partial(_against_nothing, table), naming="chunk table")


def check_blob(blob: BlobChunks) -> None:
    assert blob.count * DIGEST_BYTES == len(blob.digests)
    spans = [blob.span(index) for index in range(min(blob.count, 50))]
    assert all(stop - start <= blob.chunk_size for start, stop in spans)
    assert [start for start, _ in spans[1:]] == [stop for _, stop in spans[:-1]]
    for start, stop in ((0, blob.size), (blob.size // 3, blob.size // 2), (blob.size, blob.size)):
        first, last = blob.aligned(start, stop)
        assert first <= start <= stop <= last or start == stop
        assert all(first <= blob.span(index)[0] < last for index in list(blob.covering(start, stop))[:50])


def _against_nothing(table: ChunkTable) -> bool:
    table.check_against(())
    return not table.blobs


WORDS = (
    *json_words("schemaVersion mediaType algorithm blake3 blobs digest size chunkSize chunks", CHUNK_TABLE_TYPE),
    *(b"65536", b"67108864", b"9223372036854775807", b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", b"="),
)
TARGET = Target("chunk_table", check, seeds, WORDS, longest=2048)
