"""Where signatures lie: a registry's repository or a layout, behind one interface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from modelpack.chunk_table import MAX_TABLE_BYTES, ChunkTable, table_of
from modelpack.errors import RegistryNotFound
from modelpack.manifest import Descriptor, Index, Manifest, parse_manifest
from modelpack.reference import Reference

if TYPE_CHECKING:
    from modelpack.layout import OciLayout
    from modelpack.oci.client import RegistryClient


class Shelf(Protocol):
    """Manifests and small blobs beside one model. Everything read is checked against its digest."""

    async def referrers(self, digest: str, artifact_type: str) -> tuple[Descriptor, ...]: ...
    async def manifest(self, entry: Descriptor) -> Manifest | Index: ...
    async def tagged(self, tag: str) -> Manifest | Index | None: ...
    async def blob(self, blob: Descriptor, limit: int) -> bytes: ...


@dataclass(frozen=True)
class RegistryShelf:
    """The repository of `ref`. Raises RegistryError."""

    client: RegistryClient
    ref: Reference

    async def referrers(self, digest: str, artifact_type: str) -> tuple[Descriptor, ...]:
        return await self.client.referrers(self.ref.with_digest(digest), artifact_type)

    async def manifest(self, entry: Descriptor) -> Manifest | Index:
        found = await self.client.get_manifest(self.ref.with_digest(entry.digest))
        return parse_manifest(found.raw, found.media_type)

    async def tagged(self, tag: str) -> Manifest | Index | None:
        try:
            found = await self.client.get_manifest(Reference(self.ref.registry, self.ref.repository, tag))
        except RegistryNotFound:
            return None
        return parse_manifest(found.raw, found.media_type)

    async def blob(self, blob: Descriptor, limit: int) -> bytes:
        return await self.client.get_blob(self.ref, blob, limit)


@dataclass(frozen=True)
class LayoutShelf:
    """An OCI image layout, where nobody but this library tags signatures. Raises LayoutError."""

    layout: OciLayout

    async def referrers(self, digest: str, artifact_type: str) -> tuple[Descriptor, ...]:
        return self.layout.referrers(digest, artifact_type)

    async def manifest(self, entry: Descriptor) -> Manifest | Index:
        return parse_manifest(self.layout.blobs.read(entry, "manifest"), entry.media_type)

    async def tagged(self, tag: str) -> Manifest | Index | None:
        named = self.layout.refs()
        found = named.get(tag) or next((entry for name, entry in named.items() if name.endswith(f":{tag}")), None)
        return await self.manifest(found) if found else None

    async def blob(self, blob: Descriptor, limit: int) -> bytes:
        return self.layout.blobs.read(blob, limit=limit)


async def attached_table(shelf: Shelf, about: Manifest, model: Manifest) -> ChunkTable:
    """The chunk table that a referrer brings, checked against the model's manifest. Raises DigestMismatch,
    InvalidChunkTable and what the shelf raises."""
    layer = about.layers[0]
    return table_of(model, await shelf.blob(layer, MAX_TABLE_BYTES), layer.digest)
