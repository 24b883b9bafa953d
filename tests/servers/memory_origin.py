"""An origin whose models live in memory: the double behind `modeldist.origins.base.Origin`.

References are written `memory://namespace/name:tag`, or `memory://namespace/name@sha256:…` when pinned. Counts every
request; failures and delays are set by the test: `before_chunk(shard, position)` runs in the reading thread before each
MiB and may raise or wait.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections import Counter
from collections.abc import Callable

from msgspec.structs import replace

from modeldist.artifact import Artifact, ArtifactFile, Digest, Shard, ShardChunks
from modeldist.errors import InvalidReference, ModeldistError, NotFound
from modeldist.origins.base import OnBytes, Origin, RangeReader
from modelpack.chunk_index import BlobCuts, ChunkIndex, cut, encode_index
from modelpack.chunk_table import chunk_digests, chunk_size_for

SCHEME = "memory://"
CHUNK = 1 << 20


def sha256(data: bytes) -> Digest:
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


def chunks_of(data: bytes) -> ShardChunks:
    size = chunk_size_for(len(data))
    return ShardChunks(sha256(data), size, chunk_digests(data, size))


def index_of(files: dict[str, bytes], average: int = 8 * 1024) -> ChunkIndex:
    """Their true chunk index."""
    return ChunkIndex(
        average, tuple(BlobCuts(sha256(body), len(body), cut(memoryview(body), average)) for body in files.values())
    )


class MemoryOrigin:
    """`requests` counts resolve and still by reference; `bytes_read` counts body bytes by shard."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.bytes_read: Counter[Digest] = Counter()
        self.ranges_read: list[tuple[Digest, int, int]] = []  # shard, first byte, one after the last
        self.failures: dict[str, ModeldistError] = {}
        self.answering = asyncio.Event()
        self.answering.set()
        self.backs_off = False
        self.before_chunk: Callable[[Digest, int], None] = lambda shard, position: None
        self._tags: dict[str, Artifact] = {}
        self.blobs: dict[Digest, bytes] = {}

    def add(
        self,
        reference: str,
        files: dict[str, bytes],
        *,
        chunks: bool = False,
        index: ChunkIndex | None = None,
        etags: bool = False,
    ) -> Artifact:
        """Put a model at a tag; putting another one there moves the tag. `chunks`: it has a chunk table. `index`: and
        this chunk index, true or not. `etags`: nothing says what its files' content is, as of a plain web server."""
        name, tag = self._split(reference)
        listing = tuple(
            ArtifactFile(path, _etag(body) if etags else sha256(body), len(body), kind="weight")
            for path, body in sorted(files.items())
        )
        digest = sha256("".join(f"{file.path} {file.digest}\n" for file in listing).encode())
        self.blobs.update({file.digest: files[file.path] for file in listing})
        artifact = Artifact(
            reference=f"{SCHEME}{name}@{digest}",
            name=f"{SCHEME}{name}",
            tag=tag,
            digest=digest,
            revision=digest.removeprefix("sha256:")[:40],
            repo_id=name,
            origin="http",
            endpoint=SCHEME,
            repository=name,
            files=listing,
            chunks=tuple(chunks_of(body) for body in files.values()) if chunks else (),
            index=self._stored(encode_index(index)) if index is not None else None,
        )
        self._tags[reference] = self._tags[artifact.reference] = artifact
        return artifact

    def _stored(self, blob: bytes) -> Shard:
        self.blobs[sha256(blob)] = blob
        return Shard(sha256(blob), len(blob))

    def name(self, reference: str, artifact: Artifact) -> None:
        """Have a reference mean any artifact, true or not."""
        self._tags[reference] = artifact

    def add_part(self, reference: str, whole: Artifact, ranges: dict[str, tuple[tuple[int, int], ...]]) -> Artifact:
        """Put a selection at a tag: the named files of `whole`, of which these bytes are wanted (none: all)."""
        wanted = tuple(replace(file, ranges=ranges[file.path]) for file in whole.files if file.path in ranges)
        digest = sha256(repr((whole.digest, sorted(ranges.items()))).encode())
        part = replace(
            whole,
            reference=f"{whole.name}@{digest}",
            digest=digest,
            revision=digest.removeprefix("sha256:")[:40],
            files=wanted,
        )
        self._tags[reference] = self._tags[part.reference] = part
        return part

    def matches(self, reference: str) -> bool:
        return reference.startswith(SCHEME)

    async def resolve(self, reference: str) -> Artifact:
        await self._request("resolve", reference)
        try:
            return self._tags[reference]
        except KeyError:
            raise NotFound(f"{reference}: no such model.", remedy="Check the name.") from None

    async def still(self, artifact: Artifact, reference: str) -> bool:
        if "@" in reference:
            return artifact.reference == reference
        await self._request("still", reference)
        now = self._tags.get(reference)
        return now is not None and now.digest == artifact.digest

    def reader(self, artifact: Artifact) -> RangeReader:
        return _Reader(self)

    async def close(self) -> None:
        return

    async def _request(self, kind: str, reference: str) -> None:
        self._split(reference)
        self.requests[f"{kind} {reference}"] += 1
        await self.answering.wait()
        if error := self.failures.get(reference):
            raise error

    def _split(self, reference: str) -> tuple[str, str]:
        rest = reference.removeprefix(SCHEME)
        name, _, tag = rest.partition(":")
        if rest == reference or not name or not tag:
            raise InvalidReference(f"{reference!r} is not memory://name:tag.", remedy="Write memory://name:tag.")
        return name, tag


class _Reader:
    def __init__(self, origin: MemoryOrigin) -> None:
        self._origin = origin

    def read(self, shard: Digest, start: int, length: int, fd: int, offset: int, on_bytes: OnBytes) -> None:
        origin = self._origin
        try:
            body = memoryview(origin.blobs[shard])[start : start + length]
        except KeyError:
            raise NotFound(f"{shard}: no such blob.") from None
        while origin.backs_off:  # as a reader does between its retries: it gives its caller chances to stop
            on_bytes(0)
            time.sleep(0.01)
        for position in range(0, len(body), CHUNK):
            origin.before_chunk(shard, start + position)
            chunk = body[position : position + CHUNK]
            os.pwrite(fd, chunk, offset + position)
            origin.bytes_read[shard] += len(chunk)
            origin.ranges_read.append((shard, start + position, start + position + len(chunk)))
            on_bytes(len(chunk))

    def ahead(self, shard: Digest, start: int, length: int) -> None:
        return

    def close(self) -> None:
        return


def conforms(origin: MemoryOrigin) -> Origin:
    """Holds the double to the protocol: a type checker reads this line."""
    return origin


def _etag(body: bytes) -> Digest:
    return Digest(sha256(body).replace("sha256:", "etag:"))
