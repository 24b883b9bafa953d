"""The chunk table: what is written is read back, what it proves, and what is refused."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from blake3 import blake3

from modelpack.chunk_table import (
    CHUNK_TABLE_TYPE,
    MAX_CHUNK,
    MIN_CHUNK,
    BlobChunks,
    ChunkTable,
    chunk_digests,
    chunk_size_for,
    encode_table,
    parse_table,
)
from modelpack.digests import sha256_digest
from modelpack.errors import DigestMismatch, InvalidChunkTable

MIB = 1 << 20
CHUNK = MIN_CHUNK
DATA = bytes(range(256)) * 1000  # 3 chunks of 64 KiB and one of 59,392 bytes
EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def blob(data: bytes = DATA, chunk_size: int = CHUNK) -> BlobChunks:
    return BlobChunks(sha256_digest(data), len(data), chunk_size, chunk_digests(data, chunk_size))


def document(**members: Any) -> dict[str, Any]:
    whole: dict[str, Any] = json.loads(encode_table(ChunkTable((blob(),))))
    return whole | members


def entry(**members: Any) -> bytes:
    whole = document()
    return json.dumps(whole | {"blobs": [whole["blobs"][0] | members]}).encode()


@pytest.mark.parametrize(
    ("size", "chunk", "count"),
    [
        (0, MIB // 4, 0),
        (1, MIB // 4, 1),
        (128 * 10**6, MIB // 4, 489),
        (10**9, MIB, 954),
        (5 * 10**9, 8 * MIB, 597),
        (10**12, 16 * MIB, 59605),
    ],
)
def test_a_blob_has_500_to_1000_chunks_of_256_kib_to_16_mib(size: int, chunk: int, count: int) -> None:
    assert chunk_size_for(size) == chunk
    assert -(-size // chunk) == count


def test_what_is_written_is_read_back() -> None:
    table = ChunkTable((blob(), BlobChunks(EMPTY, 0, MIB, b"")))
    again = parse_table(encode_table(table))
    assert again == table
    assert encode_table(again) == encode_table(table)
    assert again.of(table.blobs[0].digest) == table.blobs[0]
    assert again.of(EMPTY) == BlobChunks(EMPTY, 0, MIB, b"")
    assert again.of("sha256:" + "0" * 64) is None


def test_members_of_later_versions_are_passed_over() -> None:
    assert parse_table(json.dumps(document(note={"a": [1]})).encode()) == ChunkTable((blob(),))


def test_each_chunk_is_the_plain_blake3_of_its_bytes() -> None:
    chunks = blob()
    assert chunks.count == 4
    assert chunks.of(3) == blake3(DATA[3 * CHUNK :]).digest()
    assert chunks.span(3) == (3 * CHUNK, len(DATA))
    for number in (-1, 4):
        with pytest.raises(IndexError):
            chunks.of(number)
        with pytest.raises(IndexError):
            chunks.span(number)


def test_a_range_is_proven_by_the_chunks_around_it() -> None:
    chunks, asked = blob(), []

    def read(start: int, stop: int) -> bytes:
        asked.append((start, stop))
        return DATA[start:stop]

    assert b"".join(chunks.prove(CHUNK - 1, 2 * CHUNK + 1, read)) == DATA[CHUNK - 1 : 2 * CHUNK + 1]
    assert asked == [(0, CHUNK), (CHUNK, 2 * CHUNK), (2 * CHUNK, 3 * CHUNK)]
    assert list(chunks.covering(CHUNK, 2 * CHUNK)) == [1]
    assert list(chunks.covering(5, 5)) == []
    assert chunks.aligned(CHUNK + 1, 3 * CHUNK + 1) == (CHUNK, len(DATA))
    assert chunks.aligned(7, 7) == (7, 7)
    assert b"".join(chunks.prove(0, len(DATA), read)) == DATA
    chunks.check_range(2 * CHUNK, memoryview(DATA)[2 * CHUNK :])


@pytest.mark.parametrize(("start", "stop"), [(-1, 3), (3, 2), (0, len(DATA) + 1)])
def test_a_range_outside_the_blob_is_an_error(start: int, stop: int) -> None:
    with pytest.raises(ValueError, match="is no range of it"):
        blob().covering(start, stop)


def test_a_wrong_chunk_is_refused_before_its_bytes_are_given_out() -> None:
    chunks = blob()
    for wrong in (DATA[CHUNK : 2 * CHUNK - 1] + b"\x00", DATA[: CHUNK - 1], DATA[: CHUNK + 1], b""):
        with pytest.raises(DigestMismatch, match=rf"Bytes {CHUNK} to {2 * CHUNK} of {chunks.digest}"):
            chunks.check(1, wrong)
    proven = chunks.prove(0, len(DATA), lambda start, stop: DATA[start:stop] if start == 0 else bytes(stop - start))
    assert next(proven) == DATA[:CHUNK]
    with pytest.raises(DigestMismatch):
        next(proven)
    with pytest.raises(ValueError, match="does not begin and end with chunks"):
        chunks.check_range(1, DATA[1:CHUNK])
    with pytest.raises(DigestMismatch):
        chunks.check_range(0, DATA[:CHUNK] + bytes(CHUNK))


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"[]", "not a JSON object"),
        (b'{"schemaVersion":1,"schemaVersion":1}', "appears twice"),
        (json.dumps(document(schemaVersion=2)).encode(), "schemaVersion"),
        (json.dumps(document(schemaVersion=True)).encode(), "schemaVersion"),
        (json.dumps(document(mediaType="text/plain")).encode(), "mediaType"),
        (json.dumps(document(algorithm="sha1")).encode(), "algorithm"),
        (json.dumps(document(blobs={})).encode(), "blobs"),
        (json.dumps(document(blobs=[7])).encode(), "no object"),
        (json.dumps(document(blobs=document()["blobs"] * 2)).encode(), "names a blob twice"),
        (entry(digest="sha256:abc"), "not a digest"),
        (entry(digest="md5:" + "0" * 32), "not a digest"),
        (entry(digest=7), "no text"),
        (entry(size=True), "no whole number"),
        (entry(size=2.0), "no whole number"),
        (entry(size=-1), "-1 bytes"),
        (entry(size=2**63), "bytes"),
        (entry(size=len(DATA) + CHUNK), "digests"),
        (entry(chunkSize=CHUNK + 1), "power of two"),
        (entry(chunkSize=CHUNK // 2), "power of two"),
        (entry(chunkSize=0), "power of two"),
        (entry(chunkSize=-CHUNK), "power of two"),
        (entry(chunkSize=2 * MAX_CHUNK), "power of two"),
        (entry(chunks="é"), "not base64"),
        (entry(chunks="AAA"), "not base64"),
        (entry(chunks="AB=="), "not base64"),  # says the same as AA==
        (entry(chunks="AA ==\n"), "not base64"),
        (entry(chunks=base64.b64encode(bytes(31)).decode()), "digests"),
        (entry(chunks=""), "digests"),
        (b"{" + b" " * (64 << 20) + b"}", "at most 67108864 are read"),
        (b'{"blobs":' + b"[" * 5000 + b"]" * 5000 + b"}", "nested too deeply"),
    ],
)
def test_a_table_that_is_not_as_specified_is_refused(raw: bytes, says: str) -> None:
    with pytest.raises(InvalidChunkTable, match=says) as refused:
        parse_table(raw)
    assert refused.value.remedy


def test_a_table_that_contradicts_the_manifest_is_refused() -> None:
    table = ChunkTable((blob(),))
    digest = table.blobs[0].digest
    table.check_against([(digest, len(DATA)), (EMPTY, 0)])
    with pytest.raises(InvalidChunkTable, match="is no layer of the model"):
        table.check_against([(EMPTY, 0)])
    with pytest.raises(InvalidChunkTable, match=f"{digest} has {len(DATA)} bytes in it and 5 in the manifest"):
        table.check_against([(digest, 5)])


def test_a_table_of_64_shards_of_1000_chunks_is_small() -> None:
    chunks = tuple(BlobChunks(f"sha256:{shard:064x}", 1000 * 16 * MIB, 16 * MIB, bytes(32_000)) for shard in range(64))
    raw = encode_table(ChunkTable(chunks))
    assert len(raw) < 2_750_000
    assert parse_table(raw) == ChunkTable(chunks)
    assert json.loads(raw)["mediaType"] == CHUNK_TABLE_TYPE
