"""The chunk table: BLAKE3 digests of a model's blobs, chunk by chunk, so that a part of a blob is provable before the
whole is here.

A manifest proves a blob only when all of it was read. The table is a JSON blob that gives, for each layer, the digest
of every chunk of `chunk_size` bytes; the model manifest's annotation `CHUNK_TABLE_ANNOTATION` holds the table's own
sha256, so that whatever pins or signs the manifest covers every chunk. `docs/chunk-table.md` is its specification.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from modelpack.digests import digest_problem, sha256_digest
from modelpack.document import read_object
from modelpack.errors import DigestMismatch, InvalidChunkTable

CHUNK_TABLE_TYPE = "application/vnd.modeldist.chunk-table.v1+json"
"""Media type of the table, and artifactType of the manifest that attaches it to a model."""
CHUNK_TABLE_ANNOTATION = "org.modeldist.chunk-table"
"""Of the model manifest: the digest of its table."""

MAX_TABLE_BYTES = 64 * 1024 * 1024  # of JSON; 64 shards of 1,000 chunks take 2.7 MB
MAX_BLOBS = 100_000  # more layers than any manifest of 4 MiB can name
MIN_CHUNK = 64 * 1024  # bytes; below, the digests of a terabyte would not fit into a table
MAX_CHUNK = 64 * 1024 * 1024  # bytes; above, proving a small range would mean reading a large one
DIGEST_BYTES = 32  # of BLAKE3
MAX_BLOB_SIZE = 2**63 - 1  # bytes; image-spec: int64

_SMALLEST = 256 * 1024
_LARGEST = 16 * 1024 * 1024
_REMEDY = "No part of the model can be proven by it; ask its publisher to build the table again."

if TYPE_CHECKING:
    from modelpack.manifest import Manifest

ReadRange = Callable[[int, int], bytes]
"""(start, stop) in bytes -> exactly those bytes of the blob."""


def chunk_size_for(size: int) -> int:
    """Bytes per chunk for a blob of `size` bytes: 500 to 1,000 chunks, of 256 KiB to 16 MiB, a power of two."""
    power = 1 << (max(1, size // 1000) - 1).bit_length()
    return min(max(power, _SMALLEST), _LARGEST)


@dataclass(frozen=True, slots=True)
class BlobChunks:
    """One blob: its digest, `size` and `chunk_size` in bytes, and 32 bytes of BLAKE3 for each chunk, in order.

    Every chunk has `chunk_size` bytes but the last, which ends with the blob. An empty blob has none.
    Raises InvalidChunkTable when the members contradict each other.
    """

    digest: str
    size: int
    chunk_size: int
    digests: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if problem := digest_problem(self.digest):
            raise _invalid(f"{self.digest[:100]!r} is not a digest: {problem}")
        if not 0 <= self.size <= MAX_BLOB_SIZE:
            raise _invalid(f"it gives {self.digest} {self.size} bytes")
        if not MIN_CHUNK <= self.chunk_size <= MAX_CHUNK or self.chunk_size & (self.chunk_size - 1):
            raise _invalid(
                f"the chunks of {self.digest} have {self.chunk_size} bytes, which is no power of two from {MIN_CHUNK} "
                f"to {MAX_CHUNK}"
            )
        if len(self.digests) != self.count * DIGEST_BYTES:
            raise _invalid(
                f"{self.digest}, of {self.size} bytes in chunks of {self.chunk_size}, has {self.count} chunks and the "
                f"table {len(self.digests) / DIGEST_BYTES:g} digests"
            )

    @property
    def count(self) -> int:
        """Number of chunks."""
        return -(-self.size // self.chunk_size)

    def of(self, index: int) -> bytes:
        """The BLAKE3 digest of a chunk, 32 bytes. Raises IndexError."""
        if not 0 <= index < self.count:
            raise IndexError(f"{self.digest} has {self.count} chunks; there is no number {index}.")
        return self.digests[index * DIGEST_BYTES : (index + 1) * DIGEST_BYTES]

    def span(self, index: int) -> tuple[int, int]:
        """Bytes [start, stop) of a chunk. Raises IndexError."""
        if not 0 <= index < self.count:
            raise IndexError(f"{self.digest} has {self.count} chunks; there is no number {index}.")
        return index * self.chunk_size, min((index + 1) * self.chunk_size, self.size)

    def covering(self, start: int, stop: int) -> range:
        """The chunks that hold bytes [start, stop); none for an empty range. Raises ValueError outside the blob."""
        if not 0 <= start <= stop <= self.size:
            raise ValueError(f"{self.digest} has {self.size} bytes; [{start}, {stop}) is no range of it.")
        return range(start // self.chunk_size, -(-stop // self.chunk_size)) if start < stop else range(0)

    def aligned(self, start: int, stop: int) -> tuple[int, int]:
        """The whole chunks around bytes [start, stop): what has to be read to prove them. Raises ValueError."""
        chunks = self.covering(start, stop)
        return (self.span(chunks[0])[0], self.span(chunks[-1])[1]) if chunks else (start, start)

    def check(self, index: int, data: bytes | bytearray | memoryview) -> None:
        """Compare a whole chunk. Raises DigestMismatch naming the blob and the bytes; IndexError."""
        from blake3 import blake3

        start, stop = self.span(index)
        if len(data) == stop - start and blake3(data).digest() == self.of(index):
            return
        raise DigestMismatch(
            f"Bytes {start} to {stop} of {self.digest} are not those of its chunk table.",
            remedy="They were refused. Read them again, from another place if it repeats.",
        )

    def check_range(self, start: int, data: bytes | bytearray | memoryview) -> None:
        """Compare `data`, which begins at byte `start` and is made of whole chunks (see `aligned`).
        Raises DigestMismatch, ValueError."""
        view = memoryview(data)
        if self.aligned(start, start + len(view)) != (start, start + len(view)):
            raise ValueError(f"[{start}, {start + len(view)}) does not begin and end with chunks of {self.digest}.")
        for index in self.covering(start, start + len(view)):
            first, last = self.span(index)
            self.check(index, view[first - start : last - start])

    def prove(self, start: int, stop: int, read: ReadRange) -> Iterator[memoryview]:
        """Bytes [start, stop), each part proven before it is given out. `read` is asked for whole chunks, in order, one
        at a time. Raises DigestMismatch, ValueError, and what `read` raises."""
        for index in self.covering(start, stop):
            first, last = self.span(index)
            data = read(first, last)
            self.check(index, data)
            yield memoryview(data)[max(start, first) - first : min(stop, last) - first]


@dataclass(frozen=True, slots=True)
class IndexBlob:
    """The chunk index (`modelpack.chunk_index`) of the same model: the digest and `size` in bytes of its blob. It is a
    hint for who has another version, and is trusted by nobody. Raises InvalidChunkTable."""

    digest: str
    size: int

    def __post_init__(self) -> None:
        if digest_problem(self.digest) or not self.digest.startswith("sha256:"):
            raise _invalid(f"its index has the digest {self.digest[:100]!r}, which is no sha256 digest")
        if not 0 < self.size <= MAX_BLOB_SIZE:
            raise _invalid(f"its index has {self.size} bytes")


@dataclass(frozen=True)
class ChunkTable:
    """The blobs of one model, each once. Raises InvalidChunkTable when one is named twice or there are too many."""

    blobs: tuple[BlobChunks, ...]
    index: IndexBlob | None = None

    def __post_init__(self) -> None:
        if len(self.blobs) > MAX_BLOBS:
            raise _invalid(f"it has {len(self.blobs)} blobs; at most {MAX_BLOBS} are read")
        if len(self._by_digest) != len(self.blobs):
            raise _invalid("it names a blob twice")

    def of(self, digest: str) -> BlobChunks | None:
        """The chunks of a blob; None when the table does not have it."""
        return self._by_digest.get(digest)

    def check_against(self, sizes: Iterable[tuple[str, int]]) -> None:
        """`sizes`: (digest, bytes) of all layers of the model. Raises InvalidChunkTable when the table has a blob that
        the model has not, or gives one another size. Layers that the table does not have stay unproven until whole."""
        known = dict(sizes)
        for blob in self.blobs:
            if blob.digest not in known:
                raise _invalid(f"it has {blob.digest}, which is no layer of the model")
            if blob.size != known[blob.digest]:
                raise _invalid(f"{blob.digest} has {blob.size} bytes in it and {known[blob.digest]} in the manifest")

    @cached_property
    def _by_digest(self) -> dict[str, BlobChunks]:
        return {blob.digest: blob for blob in self.blobs}


def chunk_digests(data: bytes | memoryview, chunk_size: int) -> bytes:
    """The BLAKE3 digests of the chunks of bytes in memory, one after the other."""
    from blake3 import blake3

    view = memoryview(data)
    return b"".join(blake3(view[start : start + chunk_size]).digest() for start in range(0, len(view), chunk_size))


def encode_table(table: ChunkTable) -> bytes:
    """The table's JSON: equal tables give equal bytes. Raises InvalidChunkTable when it is larger than readers take."""
    blobs = [
        {
            "digest": blob.digest,
            "size": blob.size,
            "chunkSize": blob.chunk_size,
            "chunks": base64.b64encode(blob.digests).decode(),
        }
        for blob in table.blobs
    ]
    document = {"schemaVersion": 1, "mediaType": CHUNK_TABLE_TYPE, "algorithm": "blake3", "blobs": blobs}
    if table.index is not None:
        document["index"] = {"digest": table.index.digest, "size": table.index.size}
    raw = msgspec.json.encode(document)
    if len(raw) > MAX_TABLE_BYTES:
        raise InvalidChunkTable(
            f"The chunk table would have {len(raw)} bytes; at most {MAX_TABLE_BYTES} are read.",
            remedy="Cut large blobs into larger chunks.",
        )
    return raw


def parse_table(raw: bytes) -> ChunkTable:
    """Read a table of at most 64 MiB. Members that this version does not know are passed over; everything else has to
    be as specified. Raises InvalidChunkTable."""
    document = read_object(raw, limit=MAX_TABLE_BYTES, what="chunk table", error=InvalidChunkTable)
    for name, wanted in (("schemaVersion", 1), ("mediaType", CHUNK_TABLE_TYPE), ("algorithm", "blake3")):
        found = document.get(name)
        if type(found) is not type(wanted) or found != wanted:
            raise _invalid(f"its {name} is {str(found)[:80]!r}, not {wanted!r}")
    blobs = document.get("blobs")
    if not isinstance(blobs, list) or len(blobs) > MAX_BLOBS:
        raise _invalid(f"its blobs are no list of at most {MAX_BLOBS}")
    return ChunkTable(tuple(_blob(entry) for entry in blobs), _index(document.get("index")))


def table_digest(manifest: Manifest) -> str:
    """The digest of the chunk table that a model's manifest names; empty when it names none.
    Raises InvalidChunkTable when what it names is no sha256 digest."""
    digest = manifest.annotations.get(CHUNK_TABLE_ANNOTATION, "")
    if digest and (digest_problem(digest) or not digest.startswith("sha256:")):
        raise InvalidChunkTable(f"The manifest names the chunk table {digest[:100]!r}, which is no sha256 digest.")
    return digest


def table_of(manifest: Manifest, raw: bytes, digest: str) -> ChunkTable:
    """The table `digest` of this model, from its bytes. Raises DigestMismatch when they are others, InvalidChunkTable
    when they are no table or contradict the manifest."""
    if (actual := sha256_digest(raw)) != digest:
        raise DigestMismatch(
            f"The chunk table that was served has the digest {actual}; the manifest names {digest}.",
            remedy="Nothing of the model was used. Pull again; if it repeats, do not trust where it came from.",
        )
    table = parse_table(raw)
    table.check_against((layer.digest, layer.size) for layer in manifest.layers)
    return table


def _blob(entry: Any) -> BlobChunks:
    if not isinstance(entry, dict):
        raise _invalid("one of its blobs is no object")
    digest, chunks = entry.get("digest"), entry.get("chunks")
    size, chunk_size = entry.get("size"), entry.get("chunkSize")
    if not isinstance(digest, str) or not isinstance(chunks, str):
        raise _invalid("one of its blobs has a digest or chunks that are no text")
    if type(size) is not int or type(chunk_size) is not int:
        raise _invalid(f"the size or chunkSize of {digest[:100]!r} is no whole number")
    return BlobChunks(digest, size, chunk_size, _decoded(chunks, digest))


def _index(entry: Any) -> IndexBlob | None:
    if entry is None:
        return None
    digest, size = (entry.get("digest"), entry.get("size")) if isinstance(entry, dict) else (None, None)
    if not isinstance(digest, str) or type(size) is not int:
        raise _invalid("its index is no object with a digest and a size")
    return IndexBlob(digest, size)


def _decoded(text: str, digest: str) -> bytes:
    """Base64, in its one canonical form."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = None
    if data is None or base64.b64encode(data).decode() != text:
        raise _invalid(f"the chunks of {digest[:100]!r} are not base64")
    return data


def _invalid(problem: str) -> InvalidChunkTable:
    return InvalidChunkTable(f"The chunk table is not valid: {problem}.", remedy=_REMEDY)
