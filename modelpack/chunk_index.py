"""The chunk index: where the content of a model's blobs may be cut so that another version of it has the same chunks.

The chunk table cuts blobs into pieces of one size: what moves by a byte has no piece in common with what it was. Here
they are cut where their content says so (FastCDC), into some 20 KiB, so that a reader who has another version of the
model finds what of the new one it has already, wherever that lies. A mark of 8 bytes tells chunks apart and proves
nothing: what is put together from old chunks is held against the chunk table and the blob's digest like anything else.
`docs/chunk-index.md` is its specification.
"""

from __future__ import annotations

import base64
import binascii
import sys
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import Any

import msgspec

from modelpack.digests import digest_problem
from modelpack.document import read_object
from modelpack.errors import InvalidChunkIndex

CHUNK_INDEX_TYPE = "application/vnd.modeldist.chunk-index.v1+json"
"""Media type of the index, a blob beside the chunk table that names it."""

ALGORITHM = "fastcdc2020-blake3"
SEGMENT = 4 * 1024 * 1024
"""Bytes after which cutting begins anew, so that segments can be cut side by side. Of content that has moved it costs
about two chunks a segment, a hundredth."""
MARK_BYTES = 8  # of the chunk's BLAKE3
MAX_INDEX_BYTES = 128 * 1024 * 1024  # of JSON; 256 GB in chunks of 64 KiB take about 55 MB
MAX_BLOBS = 100_000
MIN_BLOB = 1024 * 1024
"""Bytes of the smallest blob that is worth cutting: smaller ones are fetched sooner than looked up."""
_AVERAGES = ((4 << 30, 8 * 1024), (16 << 30, 16 * 1024), (256 << 30, 64 * 1024))
_LARGEST_AVERAGE = 256 * 1024
_MAX_BLOB_SIZE = 2**63 - 1  # bytes; image-spec: int64


def average_for(total: int) -> int:
    """The setting by which FastCDC cuts a model of `total` bytes. Chunks come out a quarter longer."""
    return next((average for limit, average in _AVERAGES if total <= limit), _LARGEST_AVERAGE)


@dataclass(frozen=True, slots=True)
class Cuts:
    """Consecutive chunks: their `lengths` in bytes and their `marks`, one for each."""

    lengths: array[int] = field(default_factory=lambda: array("I"))
    marks: array[int] = field(default_factory=lambda: array("Q"))

    @property
    def starts(self) -> array[int]:
        """Where each begins, counted from the first, and where the last ends."""
        return array("Q", accumulate(self.lengths, initial=0))


def cut(data: memoryview, average: int) -> Cuts:
    """Cut bytes that begin with a segment and end with one, or with the blob."""
    from blake3 import blake3
    from pyfastcdc import FastCDC

    chunker = FastCDC(average, min_size=average // 4, max_size=average * 4, normalized_chunking=1)
    found = Cuts()
    for start in range(0, len(data), SEGMENT):
        segment, at = data[start : start + SEGMENT], 0
        for chunk in chunker.cut_buf(segment):
            found.lengths.append(chunk.length)
            found.marks.append(int.from_bytes(blake3(segment[at : at + chunk.length]).digest()[:MARK_BYTES], "little"))
            at += chunk.length
    return found


def joined(parts: Iterable[Cuts]) -> Cuts:
    """The chunks of consecutive parts."""
    whole = Cuts()
    for part in parts:
        whole.lengths.extend(part.lengths)
        whole.marks.extend(part.marks)
    return whole


@dataclass(frozen=True, slots=True)
class BlobCuts:
    """One blob with all its chunks. Raises InvalidChunkIndex when they do not make up its `size` in bytes."""

    digest: str
    size: int
    cuts: Cuts = field(repr=False)

    def __post_init__(self) -> None:
        if problem := digest_problem(self.digest):
            raise _invalid(f"{self.digest[:100]!r} is not a digest: {problem}")
        if not 0 <= self.size <= _MAX_BLOB_SIZE or sum(self.cuts.lengths) != self.size or 0 in self.cuts.lengths:
            raise _invalid(f"the chunks of {self.digest} do not make up {self.size} bytes")
        if len(self.cuts.lengths) != len(self.cuts.marks):
            raise _invalid(f"{self.digest} has {len(self.cuts.lengths)} chunks and {len(self.cuts.marks)} marks")


@dataclass(frozen=True)
class ChunkIndex:
    """The blobs of one model, each once, cut by one setting (see `average_for`). Raises InvalidChunkIndex."""

    average: int
    blobs: tuple[BlobCuts, ...]

    def __post_init__(self) -> None:
        if not 1024 <= self.average <= 4 * 1024 * 1024 or self.average & (self.average - 1):
            raise _invalid(f"its averageSize is {self.average}, which is no power of two from 1024 to 4194304")
        if len(self.blobs) > MAX_BLOBS or len(self._by_digest) != len(self.blobs):
            raise _invalid(f"it has more than {MAX_BLOBS} blobs, or names one twice")

    def of(self, digest: str) -> Cuts | None:
        """The chunks of a blob; None when the index does not have it."""
        found = self._by_digest.get(digest)
        return found.cuts if found else None

    @cached_property
    def _by_digest(self) -> dict[str, BlobCuts]:
        return {blob.digest: blob for blob in self.blobs}


def encode_index(index: ChunkIndex) -> bytes:
    """The index's JSON: equal ones give equal bytes. Blobs that would make it larger than readers take are left out."""
    blobs, size = [], 0
    for blob in index.blobs:
        entry = {
            "digest": blob.digest,
            "size": blob.size,
            "lengths": base64.b64encode(little_endian(blob.cuts.lengths)).decode(),
            "marks": base64.b64encode(little_endian(blob.cuts.marks)).decode(),
        }
        size += len(msgspec.json.encode(entry)) + 1
        if size > MAX_INDEX_BYTES - 1024:
            break
        blobs.append(entry)
    return msgspec.json.encode(
        {
            "schemaVersion": 1,
            "mediaType": CHUNK_INDEX_TYPE,
            "algorithm": ALGORITHM,
            "averageSize": index.average,
            "segmentSize": SEGMENT,
            "blobs": blobs,
        }
    )


def parse_index(raw: bytes) -> ChunkIndex:
    """Read an index of at most 128 MiB. Members that this version does not know are passed over; everything else has
    to be as specified. Raises InvalidChunkIndex."""
    document = read_object(raw, limit=MAX_INDEX_BYTES, what="chunk index", error=InvalidChunkIndex)
    fixed = (("schemaVersion", 1), ("mediaType", CHUNK_INDEX_TYPE), ("algorithm", ALGORITHM), ("segmentSize", SEGMENT))
    for name, wanted in fixed:
        found = document.get(name)
        if type(found) is not type(wanted) or found != wanted:
            raise _invalid(f"its {name} is {str(found)[:80]!r}, not {wanted!r}")
    average, blobs = document.get("averageSize"), document.get("blobs")
    if type(average) is not int or not isinstance(blobs, list) or len(blobs) > MAX_BLOBS:
        raise _invalid(f"its averageSize is no whole number, or its blobs are no list of at most {MAX_BLOBS}")
    return ChunkIndex(average, tuple(_blobs(blobs)))


def little_endian(numbers: array[int]) -> bytes:
    """Their bytes, whatever the machine's order is."""
    if sys.byteorder == "big":
        numbers = array(numbers.typecode, numbers)
        numbers.byteswap()
    return numbers.tobytes()


def numbers_of(typecode: str, data: bytes) -> array[int]:
    """What `little_endian` made bytes. Raises ValueError when they are cut off."""
    found: array[int] = array(typecode)
    found.frombytes(data)
    if sys.byteorder == "big":
        found.byteswap()
    return found


def _blobs(entries: list[Any]) -> Iterator[BlobCuts]:
    for entry in entries:
        if not isinstance(entry, dict):
            raise _invalid("one of its blobs is no object")
        digest, size = entry.get("digest"), entry.get("size")
        if not isinstance(digest, str) or type(size) is not int:
            raise _invalid("one of its blobs has a digest that is no text, or a size that is no whole number")
        yield BlobCuts(digest, size, Cuts(_decoded(entry, "lengths", "I"), _decoded(entry, "marks", "Q")))


def _decoded(entry: dict[str, Any], member: str, typecode: str) -> array[int]:
    text = entry.get(member)
    try:
        return numbers_of(typecode, base64.b64decode(text if isinstance(text, str) else "?", validate=True))
    except (binascii.Error, ValueError):
        raise _invalid(f"the {member} of {str(entry.get('digest'))[:100]!r} are not base64 of whole numbers") from None


def _invalid(problem: str) -> InvalidChunkIndex:
    return InvalidChunkIndex(
        f"The chunk index is not valid: {problem}.",
        remedy="Changed files are fetched whole without it; ask the publisher to build the model again.",
    )
