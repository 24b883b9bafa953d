"""Manifests, read through the store and the swarm like blobs, and the blobs they name: artifacts and their shards."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import NamedTuple

from modeldist.agent.engine import Engine
from modeldist.artifact import Artifact, Digest, Shard
from modeldist.errors import StorageError, Untrusted
from modeldist.gateway.flights import Flights
from modeldist.origins.oci_blobs import BlobsOrigin
from modelpack.errors import InvalidManifest
from modelpack.manifest import MAX_MANIFEST_BYTES, Index, parse_manifest
from modelpack.oci.manifests import ManifestHead
from modelpack.reference import Reference

REMEMBERED = 256  # artifacts
_LISTED = 8192  # manifests in indexes
_NESTED = 4  # indexes in one another


class Held(NamedTuple):
    """A shard of an artifact, which the store files under its reference."""

    artifact: Artifact
    shard: Shard


class Manifests:
    """One event loop. Repositories and digests are those of pinned references."""

    def __init__(self, engine: Engine, blobs: BlobsOrigin, flights: Flights) -> None:
        self._store = engine.store
        self._blobs = blobs
        self._flights = flights
        self._known: OrderedDict[tuple[str, str], Artifact] = OrderedDict()
        self._lists: OrderedDict[tuple[str, str], str] = OrderedDict()  # the index that names a manifest

    async def read(self, ref: Reference, head: ManifestHead) -> bytes:
        """The manifest that `ref` is pinned to, proven; its artifact is recorded, and so kept.

        Raises ModeldistError, also Untrusted; InvalidManifest for what is none of the kinds that are known.
        """
        if head.size > MAX_MANIFEST_BYTES:
            raise InvalidManifest(f"{ref} has {head.size} bytes; a manifest has at most {MAX_MANIFEST_BYTES}.")
        alone = self._blobs.manifest(ref, head.size)
        shard = alone.shards[0]
        with self._store.lease((shard.digest,)):
            await self._flights.bring(alone, shard)
            raw = await asyncio.to_thread(self._stored, shard.digest)
            at = (ref.name, ref.version)
            artifact = self._known.get(at) or await self._checked(ref, raw, head)
            await asyncio.to_thread(self._record, artifact)
        self._known[at] = artifact
        self._known.move_to_end(at)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return raw

    async def holding(self, ref: Reference) -> Held | None:
        """The blob that `ref` is pinned to, of an artifact of that repository that names it; None where none that is
        remembered does, or where it has another size here than the manifest says."""
        for (name, _), artifact in reversed(self._known.items()):
            for shard in artifact.shards if name == ref.name else ():
                if shard.digest == ref.version:
                    here = await asyncio.to_thread(self._size, shard.digest)
                    return Held(artifact, shard) if here in (None, shard.size) else None
        return None

    def alone(self, ref: Reference, size: int) -> Held:
        """The blob that `ref` is pinned to, of which it is not known what names it. Raises Unsupported, Untrusted."""
        if self._blobs.guarded(ref):
            raise Untrusted(
                f"No manifest of {ref.name} that passed the policy names {ref.version}.",
                remedy="Ask for the manifest first.",
            )
        artifact = self._blobs.blob(ref, size)
        return Held(artifact, artifact.shards[0])

    async def _checked(self, ref: Reference, raw: bytes, head: ManifestHead) -> Artifact:
        found = parse_manifest(raw, head.media_type)
        await self._blobs.check(ref, self._digests(ref), found)
        if isinstance(found, Index):
            for entry in found.manifests:
                self._lists[ref.name, entry.digest] = ref.version
                self._lists.move_to_end((ref.name, entry.digest))
            while len(self._lists) > _LISTED:
                self._lists.popitem(last=False)
        return self._blobs.whole(ref, raw, found)

    def _digests(self, ref: Reference) -> list[str]:
        """Of the manifest and of the indexes it is named in, the outermost first."""
        digests = [ref.version]
        while len(digests) <= _NESTED and (index := self._lists.get((ref.name, digests[0]))):
            digests.insert(0, index)
        return digests

    def _record(self, artifact: Artifact) -> None:
        """As what its reference means, unless that has been pulled and is more: an index and one of its images."""
        known = self._store.lookup(artifact.reference)
        kept = known if known and set(artifact.files) <= set(known.files) else artifact
        self._store.record(kept, artifact.reference)

    def _size(self, digest: Digest) -> int | None:
        """Bytes of a shard that is in the store."""
        path = self._store.path(digest)
        try:
            return path.stat().st_size if path else None
        except FileNotFoundError:
            return None

    def _stored(self, digest: Digest) -> bytes:
        path = self._store.path(digest)
        try:
            if path is not None:
                return path.read_bytes()
        except FileNotFoundError:
            pass
        raise StorageError(f"{digest} has just been removed from the store.", remedy="Ask again.")
