"""Chunk indexes: what is read is written as the same index, and its chunks make up its blobs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

from modelpack.chunk_index import (
    ALGORITHM,
    CHUNK_INDEX_TYPE,
    SEGMENT,
    BlobCuts,
    ChunkIndex,
    Cuts,
    cut,
    encode_index,
    parse_index,
)
from modelpack.digests import sha256_digest
from tests.fuzz.target import Target, json_words
from tests.refusals import value_of


def seeds() -> Iterator[bytes]:
    data = bytes(range(256)) * 500
    blob = BlobCuts(sha256_digest(data), len(data), cut(memoryview(data), 4096))
    yield encode_index(ChunkIndex(4096, (blob, BlobCuts(sha256_digest(b""), 0, Cuts()))))
    yield encode_index(ChunkIndex(16384, ()))
    document = json.loads(encode_index(ChunkIndex(16384, ())))
    one = {"digest": blob.digest, "size": 2**63 - 1, "lengths": "/////w==", "marks": "AAAAAAAAAAA="}
    yield json.dumps(document | {"blobs": [one, one], "later": {}}).encode()


def check(data: bytes) -> None:
    index = value_of(partial(parse_index, data), naming="chunk index")
    if index is None:
        return
    written = encode_index(index)
    assert parse_index(written) == index
    assert encode_index(parse_index(written)) == written
    for blob in index.blobs:
        assert index.of(blob.digest) == blob.cuts
        assert blob.cuts.starts[-1] == blob.size


WORDS = (
    *json_words(
        "schemaVersion mediaType algorithm averageSize segmentSize blobs digest size lengths marks",
        CHUNK_INDEX_TYPE,
        ALGORITHM,
    ),
    *(b"16384", str(SEGMENT).encode(), b"9223372036854775807", b"AAAAAAAAAAA=", b"AQAAAA==", b"="),
)
TARGET = Target("chunk_index", check, seeds, WORDS, longest=2048)
