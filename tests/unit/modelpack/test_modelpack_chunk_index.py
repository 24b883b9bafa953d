"""The chunk index: equal content is cut alike wherever it lies, what is written is read back, and what is refused."""

from __future__ import annotations

import base64
import json
import random
from typing import Any

import pytest

from modelpack.chunk_index import (
    SEGMENT,
    BlobCuts,
    ChunkIndex,
    Cuts,
    average_for,
    cut,
    encode_index,
    joined,
    parse_index,
)
from modelpack.digests import sha256_digest
from modelpack.errors import InvalidChunkIndex

AVERAGE = 16 * 1024


def content(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def blob(data: bytes) -> BlobCuts:
    return BlobCuts(sha256_digest(data), len(data), cut(memoryview(data), AVERAGE))


def document(**members: Any) -> bytes:
    whole: dict[str, Any] = json.loads(encode_index(ChunkIndex(AVERAGE, (blob(content(100_000)),))))
    return json.dumps(whole | members).encode()


def entry(**members: Any) -> bytes:
    whole = json.loads(document())
    return json.dumps(whole | {"blobs": [whole["blobs"][0] | members]}).encode()


def test_the_chunks_of_a_content_are_always_the_same() -> None:
    """Whoever cuts it, with whatever release of the library: nodes compare marks that publishers wrote years ago."""
    cuts = cut(memoryview(content(200_000)), AVERAGE)
    assert list(cuts.lengths) == [6699, 16876, 19736, 19972, 28725, 19558, 35132, 21023, 20874, 4164, 7241]
    assert cuts.marks[0] == 15619542973912294765


def test_content_that_moved_has_the_same_chunks_but_for_some_at_its_beginning_and_between_segments() -> None:
    data = content(2 * SEGMENT)
    before, after = cut(memoryview(data), AVERAGE), cut(memoryview(b"some bytes more" + data), AVERAGE)
    kept = set(before.marks) & set(after.marks)
    lost = sum(length for length, mark in zip(before.lengths, before.marks, strict=True) if mark not in kept)
    assert lost < 0.03 * len(data)


def test_segments_may_be_cut_apart() -> None:
    data = memoryview(content(2 * SEGMENT + 12345))
    parts = (cut(data[start : start + SEGMENT], AVERAGE) for start in range(0, len(data), SEGMENT))
    assert joined(parts) == cut(data, AVERAGE)


def test_what_is_written_is_read_back() -> None:
    index = ChunkIndex(AVERAGE, (blob(content(300_000)), blob(content(70_000, seed=2))))
    assert parse_index(encode_index(index)) == index
    assert encode_index(parse_index(encode_index(index))) == encode_index(index)
    assert index.of(sha256_digest(b"another")) is None


def test_unknown_members_are_passed_over() -> None:
    assert parse_index(document(later={"a": 1})).average == AVERAGE


@pytest.mark.parametrize(
    ("total", "average"), [(0, 8_192), (16 << 30, 16_384), (140 * 10**9, 65_536), (10**12, 262_144)]
)
def test_large_models_are_cut_into_larger_chunks(total: int, average: int) -> None:
    assert average_for(total) == average


def lengths(*numbers: int) -> str:
    return base64.b64encode(b"".join(number.to_bytes(4, "little") for number in numbers)).decode()


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"[]", "chunk index"),
        (document(schemaVersion=2), "schemaVersion"),
        (document(algorithm="rabin"), "algorithm"),
        (document(segmentSize=1), "segmentSize"),
        (document(averageSize=16_000), "averageSize"),
        (document(averageSize=True), "averageSize"),
        (document(blobs={}), "blobs"),
        (document(blobs=[1]), "no object"),
        (entry(digest="sha256:short"), "not a digest"),
        (entry(size="1"), "size"),
        (entry(size=99_999), "do not make up 99999 bytes"),
        (entry(lengths=lengths(100_000, 0)), "do not make up"),
        (entry(lengths=lengths(100_000)), "1 chunks and"),
        (entry(lengths="?"), "lengths"),
        (entry(marks="AAAA"), "marks"),
    ],
)
def test_what_breaks_the_format_is_refused(raw: bytes, says: str) -> None:
    with pytest.raises(InvalidChunkIndex, match=says) as refused:
        parse_index(raw)
    assert refused.value.remedy


def test_a_blob_is_named_once() -> None:
    with pytest.raises(InvalidChunkIndex, match="twice"):
        ChunkIndex(AVERAGE, (blob(b"x"), blob(b"x")))


def test_no_bytes_have_no_chunks() -> None:
    assert cut(memoryview(b""), AVERAGE) == Cuts()
