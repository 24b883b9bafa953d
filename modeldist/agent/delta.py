"""A new version of a model moves only what changed: what of its shards is here already, in shards of other versions.

The artifact's chunk index is a shard like any other, fetched by the swarm when this node has something that it may be
compared with. See `docs/delta.md`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial as bind
from pathlib import Path

from msgspec.structs import replace

from modeldist.agent.shard_fetch import Ranges, ShardFetch
from modeldist.agent.store import Store
from modeldist.agent.store.known_cuts import find_parts
from modeldist.agent.store.reusing import Base, reuse
from modeldist.agent.store.sparse_shards import SparseShard
from modeldist.artifact import Artifact, ArtifactFile, Digest, Shard
from modeldist.origins.selected import whole_of
from modelpack.chunk_index import MIN_BLOB, SEGMENT, ChunkIndex, Cuts, cut, parse_index

INDEX_NAME = "chunk index"
_VERSIONS = 4  # artifacts of the same name that are looked at
_OTHERS = 4  # and of other names
_ALIKE = 0.1  # how much a file of another model may differ in size
_SAMPLES = 8  # segments of a file of another model
_WORTH_READING = 0.1  # share of a shard that was not found: a base whose chunks are not known is read for more


@dataclass(frozen=True, slots=True)
class OldShard:
    """A shard of another version, complete or in part, and its `path` in that; `kin`: a version of the same model."""

    digest: Digest
    path: str
    kin: bool


class Delta:
    """What is known about one artifact and the other versions here. Thread-safe."""

    def __init__(self, store: Store, index: ChunkIndex, bases: Sequence[OldShard]) -> None:
        self._store = store
        self._index = index
        self._bases = bases

    def concerns(self, fetch: ShardFetch) -> bool:
        return fetch.table is not None and self._cuts(fetch.shard) is not None

    def _cuts(self, shard: Shard) -> Cuts | None:
        found = self._index.of(shard.digest)
        return found if found is not None and sum(found.lengths) == shard.size else None

    def fill(self, fetch: ShardFetch) -> dict[int, Ranges]:
        """Take into its partial file what is here. Of pieces that are here in part: what is not. Blocks.
        Raises OSError, ModeldistError."""
        cuts = self._cuts(fetch.shard)
        assert cuts is not None and fetch.table is not None
        stopped = bind(_ended, fetch)
        bases = self._bases_of(fetch.path, cuts, stopped)
        holes = reuse(fetch.partial, fetch.wanted, fetch.table.all(), cuts, bases, stopped)
        if not fetch.ranges:
            with suppress(OSError):  # a hint for the version after this one
                self._store.cuts.put(fetch.shard.digest, self._index.average, cuts)
        return holes

    def _bases_of(self, path: str, new: Cuts, stopped: Callable[[], bool]) -> Iterator[Base]:
        """The file that had the same path first."""
        for old in sorted(self._bases, key=lambda old: old.path != path):
            promising = old.path == path
            if (place := self._store.path(old.digest)) is not None:
                yield Base(place, bind(self._cuts_of, old, place, new, stopped, promising))
            elif (part := self._store.sparse(old.digest)) is not None:
                yield Base(part.path, bind(self._cuts_of_part, old, part, new, stopped, promising))

    def _cuts_of(
        self, old: OldShard, place: Path, new: Cuts, stopped: Callable[[], bool], promising: bool, left: float
    ) -> Cuts | None:
        """None where the old shard would have to be read for them, and that is not worth it."""
        known = self._store.cuts.get(old.digest, self._index.average)
        if known is None and (promising or left > _WORTH_READING):
            whole = ((0, place.stat().st_size),)
            if old.kin or self._related(place, whole, new):
                known = self._store.cuts.find(old.digest, self._index.average, stopped)
        return known

    def _cuts_of_part(
        self, old: OldShard, part: SparseShard, new: Cuts, stopped: Callable[[], bool], promising: bool, left: float
    ) -> Cuts | None:
        """The same of what is here of a shard. Not kept: it is read again for the next version."""
        if not (promising or left > _WORTH_READING) or not (old.kin or self._related(part.path, part.ranges, new)):
            return None
        return find_parts(part.path, part.layout.size, part.ranges, self._index.average, stopped)

    def _related(self, place: Path, ranges: Ranges, new: Cuts) -> bool:
        """Whether some places of a file have a chunk in common with the new shard: files of models that have nothing to
        do with each other are not read to their ends."""
        marks = frozenset(new.marks)
        segments = [start for first, stop in ranges for start in range(first, stop, SEGMENT)]
        with place.open("rb", buffering=0) as file:
            for start in segments[:: -(-len(segments) // _SAMPLES) or 1]:
                part = os.pread(file.fileno(), SEGMENT, start)
                if not marks.isdisjoint(cut(memoryview(part), self._index.average).marks):
                    return True
        return False


class Deltas:
    """Loop thread only."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._last: tuple[Digest, Delta] | None = None

    async def prepare(
        self, artifact: Artifact, shards: Sequence[Shard], fetch: Callable[[Artifact, Shard], Awaitable[None]]
    ) -> Delta | None:
        """None where nothing of these can be here. `fetch` brings the index into the store. Raises ModeldistError: no
        more is lost by it than the bytes that would have been saved."""
        if artifact.index is None or not any(_in_chunks(artifact, shard) for shard in shards):
            return None
        if self._last is not None and self._last[0] == artifact.digest:
            return self._last[1]
        bases = await asyncio.to_thread(old_shards, self._store, artifact)
        if not bases:
            return None
        with self._store.lease((artifact.index.digest,)):
            if not self._store.has(artifact.index.digest):
                await fetch(index_artifact(artifact, artifact.index), artifact.index)
            index = await asyncio.to_thread(self._read, artifact.index)
        self._last = artifact.digest, Delta(self._store, index, bases)
        return self._last[1]

    def _read(self, index: Shard) -> ChunkIndex:
        from modeldist.origins.modelpack_errors import in_our_words

        path = self._store.path(index.digest)
        with in_our_words(INDEX_NAME):
            return parse_index(path.read_bytes() if path is not None else b"")


def index_artifact(artifact: Artifact, index: Shard) -> Artifact:
    """As which the index is fetched: one file of the same origin."""
    file = ArtifactFile(INDEX_NAME, index.digest, index.size)
    return replace(whole_of(artifact), digest=index.digest, files=(file,), chunks=(), index=None)


def old_shards(store: Store, artifact: Artifact) -> list[OldShard]:
    """Shards of other versions of the model, then of models that look like it, complete or in part. Blocks."""
    own = {shard.digest for shard in artifact.shards}
    sizes = {file.path: file.size for file in artifact.files}
    found: dict[Digest, OldShard] = {}
    left = {True: _VERSIONS, False: _OTHERS}
    for other in sorted(store.known(), key=lambda each: each.name != artifact.name):  # the last used first, still
        same = other.name == artifact.name
        if other.digest == artifact.digest or not left[same]:
            continue
        files = [file for file in other.files if same or _alike(file, sizes)]
        here = [file for file in files if file.size >= MIN_BLOB and file.digest not in own and _is_here(store, file)]
        left[same] -= bool(here)
        for file in here:
            found.setdefault(file.digest, OldShard(file.digest, file.path, same))
    return list(found.values())


def _is_here(store: Store, file: ArtifactFile) -> bool:
    return store.has(file.digest) or store.sparse(file.digest) is not None


def _alike(file: ArtifactFile, sizes: dict[str, int]) -> bool:
    size = sizes.get(file.path)
    return size is not None and abs(file.size - size) <= _ALIKE * size


def _in_chunks(artifact: Artifact, shard: Shard) -> bool:
    return shard.size >= MIN_BLOB and artifact.chunks_of(shard.digest) is not None


def _ended(fetch: ShardFetch) -> bool:
    return fetch.ended
