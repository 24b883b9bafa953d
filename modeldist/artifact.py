"""The value objects everything else speaks of: digest, shard, file, artifact.

Pure data, frozen, msgpack- and JSON-able with msgspec. Imports only `modeldist.errors`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cached_property
from itertools import chain
from typing import Literal, NewType

import msgspec

from modeldist.errors import IntegrityError

Digest = NewType("Digest", str)
"""`algorithm:value`. Algorithms:

`sha256`    64 hex; what the store addresses by.
`git-sha1`  40 hex; Hugging Face's identity of a file outside LFS: sha1 over `blob <size>\\0` + content.
`etag`      64 hex; an origin that publishes no digest (plain HTTP, a local file): sha256 over what pins the
            content there (URL, size, ETag or mtime). It names the shard until its sha256 is known and proves nothing.
"""

_DIGEST = re.compile(r"(sha256|etag):[0-9a-f]{64}|git-sha1:[0-9a-f]{40}")

LayerKind = Literal["weight", "weight.config", "doc", "code", "dataset", "other"]
Encoding = Literal["raw", "tar", "tar+gzip", "tar+zstd"]
OriginKind = Literal["oci", "oci-blobs", "huggingface", "modelscope", "http", "file", "layout"]


def parse_digest(text: str) -> Digest:
    """Check the grammar. Raises IntegrityError naming the text."""
    if not _DIGEST.fullmatch(text):
        raise IntegrityError(f"{text[:100]!r} is not a digest this program can verify.")
    return Digest(text)


def algorithm(digest: Digest) -> str:
    return digest.partition(":")[0]


class Shard(msgspec.Struct, frozen=True):
    """One blob of an artifact. `size` in bytes."""

    digest: Digest
    size: int


class ArtifactFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """One file of the snapshot, or, when `encoding` is a tar, an archive of files.

    `path` is relative, `/`-separated and already checked (see `modelpack.names`); for a tar it is only a label.
    `locator` says where inside the origin the shard is read: a path for hubs, a URL for http, an absolute
    path for file; empty for oci and layout, which address blobs by digest, but `manifest` for what a registry keeps
    among its manifests.
    `subtree`: of a container image's layer, the directory that alone counts (see `modelpack.imagelayers`).
    `unpacked`: bytes an archive unpacks to, as its publisher says (0: nothing said). It proves nothing.
    `ranges`: which bytes of it this node wants, half-open, ascending and apart from each other; empty: the whole file.
    It says what somebody selected (see `Artifact.part`): a whole artifact has none, and `Shard` does not depend on it.
    Only a raw file can have some. `header`: what they were planned by; they mean nothing in a file that begins
    otherwise.
    """

    path: str
    digest: Digest
    size: int
    kind: LayerKind = "other"
    encoding: Encoding = "raw"
    locator: str = ""
    executable: bool = False
    unpacked: int = 0
    subtree: str = ""
    ranges: tuple[tuple[int, int], ...] = ()
    header: SeenHeader | None = None


class ShardChunks(msgspec.Struct, frozen=True, array_like=True):
    """The shard's part of the artifact's chunk table (`modelpack.chunk_table`): 32 bytes of BLAKE3 for each
    `chunk_size` bytes of it, one after the other. Whoever vouches for the artifact's digest vouches for them."""

    digest: Digest
    chunk_size: int
    digests: bytes

    @property
    def count(self) -> int:
        return len(self.digests) // 32

    def of(self, chunk: int) -> bytes:
        return self.digests[chunk * 32 : chunk * 32 + 32]

    def all(self) -> dict[int, bytes]:
        """Digests by the number of the chunk."""
        return {chunk: self.of(chunk) for chunk in range(self.count)}


class SeenHeader(msgspec.Struct, frozen=True, array_like=True):
    """The first `length` bytes of a weight file, and their `sha256:…`, as the plan of its ranges saw them."""

    length: int
    digest: str


class Part(msgspec.Struct, frozen=True):
    """What a part of an artifact was taken from: the whole's reference, tag, digest, revision, and unique bytes.
    `rules`: the version of the rules by which it was chosen (`modeldist.origins.selected.RULES`). `headers`: bytes that
    were read at the origin to choose it."""

    reference: str
    tag: str
    digest: Digest
    revision: str
    size: int
    rules: int = 0
    headers: int = 0


class Artifact(msgspec.Struct, frozen=True, omit_defaults=True, dict=True):
    """A reference resolved once.

    `reference` is pinned (`registry/org/model@sha256:…`, `hf://org/model@<commit>`); `name` is the pinned reference
    without its version and `tag` the version the user typed, so several tags share one artifact.
    `digest` is `sha256:…` of the manifest (or of the canonical file list where the origin has no manifest).
    `revision` is 40 lowercase hex: the Hugging Face commit, or the first 40 digits of `digest`.
    `repo_id` is the Hugging Face style `namespace/name` under which snapshots are laid out.
    `endpoint` is the origin's base: `https://registry.example`, `https://huggingface.co`, or a directory.
    `repository` is the name within the endpoint.
    `chunks`: digests of parts of shards, of those shards that its chunk table has.
    `index`: the blob of its chunk index (`modelpack.chunk_index`), which tells what of it another version has.
    `part`: of an artifact that a selection made, the one it was made of; `reference`, `digest` and `revision` are then
    the part's own (see `modeldist.origins.selected`).
    `approved`: a token of the policy that it passed in this process or store (`origins.trust_gate`); what another
    process says here counts for nothing.
    """

    reference: str
    name: str
    tag: str
    digest: Digest
    revision: str
    repo_id: str
    origin: OriginKind
    endpoint: str
    repository: str
    files: tuple[ArtifactFile, ...]
    warnings: tuple[str, ...] = ()
    chunks: tuple[ShardChunks, ...] = ()
    part: Part | None = None
    approved: str = ""
    index: Shard | None = None

    @cached_property
    def shards(self) -> tuple[Shard, ...]:
        """Unique shards in file order."""
        seen: dict[Digest, Shard] = {}
        for file in self.files:
            seen.setdefault(file.digest, Shard(file.digest, file.size))
        return tuple(seen.values())

    @cached_property
    def size(self) -> int:
        """Unique bytes."""
        return sum(shard.size for shard in self.shards)

    @property
    def whole_size(self) -> int:
        """Unique bytes of the artifact that this is a part of, or its own."""
        return self.part.size if self.part else self.size

    @cached_property
    def needed(self) -> int:
        """Unique bytes that its files want: `size`, less what their `ranges` leave out."""
        return sum(map(self.needed_of, self.shards))

    def needed_of(self, shard: Shard) -> int:
        """Bytes of one of its shards that its files want. Raises KeyError."""
        ranges = self.ranges_of(shard.digest)
        return sum(stop - start for start, stop in ranges) if ranges else shard.size

    def file_of(self, shard: Digest) -> ArtifactFile:
        """The first file whose content is `shard`. Raises KeyError."""
        return self._files_by_digest[shard]

    @cached_property
    def _files_by_digest(self) -> dict[Digest, ArtifactFile]:
        found: dict[Digest, ArtifactFile] = {}
        for file in self.files:
            found.setdefault(file.digest, file)
        return found

    def chunks_of(self, shard: Digest) -> ShardChunks | None:
        """What proves parts of this shard before it is whole."""
        return self._chunks_by_digest.get(shard)

    @cached_property
    def _chunks_by_digest(self) -> dict[Digest, ShardChunks]:
        return {chunks.digest: chunks for chunks in self.chunks}

    def ranges_of(self, shard: Digest) -> tuple[tuple[int, int], ...]:
        """The bytes of a shard that its files want together, half-open, ascending; empty: all. Raises KeyError."""
        return self._ranges_by_digest[shard]

    @cached_property
    def _ranges_by_digest(self) -> dict[Digest, tuple[tuple[int, int], ...]]:
        found: dict[Digest, tuple[tuple[int, int], ...]] = {}
        for file in self.files:
            before = found.get(file.digest)
            if before is None:
                found[file.digest] = file.ranges
            elif before:
                found[file.digest] = united(before, file.ranges) if file.ranges else ()
        return found

    def locator(self, shard: Digest) -> str:
        """Where the origin keeps `shard`."""
        return self.file_of(shard).locator


def united(*ranges: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Half-open ranges as ascending ones that neither overlap nor touch; empty ones are left out."""
    whole: list[tuple[int, int]] = []
    for start, stop in sorted(chain.from_iterable(ranges)):
        if start >= stop:
            continue
        if whole and start <= whole[-1][1]:
            whole[-1] = (whole[-1][0], max(whole[-1][1], stop))
        else:
            whole.append((start, stop))
    return tuple(whole)
