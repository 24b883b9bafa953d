"""The two ends of a copy: where artifacts come from and where they go, each a registry or an OCI layout."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol

from modelpack.blobs import MAX_SMALL_BLOB
from modelpack.chunk_table import ChunkTable
from modelpack.errors import RegistryNotFound
from modelpack.layout import OciLayout
from modelpack.manifest import Descriptor, Index, Manifest, parse_manifest
from modelpack.oci.blob_sources import BlobSource, SourceFailed
from modelpack.oci.client import RegistryClient
from modelpack.oci.manifests import FetchedManifest
from modelpack.oci.partial_blob import PartialBlob
from modelpack.oci.relay import RelayedBlob
from modelpack.oci.upload_records import UploadRecord, upload_record
from modelpack.oci.uploads import UploadPaused
from modelpack.reference import Reference

How = Literal["moved", "present", "mounted"]
Tell = Callable[[How, int], None]


class Source(Protocol):
    """Where artifacts come from. Raises RegistryError, LayoutError, DigestMismatch."""

    async def root(self) -> FetchedManifest:
        """What the reference means now."""

    async def manifest(self, descriptor: Descriptor) -> FetchedManifest:
        """One that another one led to."""

    async def tagged(self, tag: str) -> FetchedManifest | None:
        """A manifest of the same repository by its tag, None where there is none."""

    async def referrers(self, digest: str) -> tuple[Descriptor, ...]:
        """Manifests whose subject is this one."""

    async def read(self, blob: Descriptor) -> bytes:
        """A small blob, verified."""

    async def chunk_table(self, manifest: Manifest) -> ChunkTable | None:
        """The chunk table a manifest names, verified."""

    def repository_in(self, registry: str) -> str:
        """Its repository, if it is in this registry, else nothing."""

    def opened(self, blob: Descriptor) -> AbstractAsyncContextManager[Path | BlobSource]:
        """A blob's bytes, to send."""

    async def deliver(self, blob: Descriptor, layout: OciLayout, tell: Tell) -> None:
        """Put a blob into a layout, verified."""


class Target(Protocol):
    """Where they go. Raises RegistryError, LayoutError, DigestMismatch."""

    def adding(self) -> AbstractContextManager[None]:
        """Held while blobs are added that nothing leads to yet."""

    async def take(self, blob: Descriptor, source: Source, tell: Tell) -> None:
        """Have the blob here, verified, by the shortest way."""

    async def add(self, content: Path | bytes, blob: Descriptor) -> None:
        """Store bytes that come from nowhere else."""

    async def put(self, manifest: FetchedManifest) -> None:
        """Store a manifest under its digest alone."""

    async def refer(self, manifest: FetchedManifest) -> None:
        """Store a manifest with a subject, so that it is found by it."""

    async def name(self, manifest: FetchedManifest, tag: str) -> None:
        """Move the tag, or the reference's own where it is empty, to a manifest that is here."""


@dataclass(frozen=True)
class RegistrySource:
    """An artifact in a registry."""

    client: RegistryClient
    ref: Reference

    async def root(self) -> FetchedManifest:
        return await self.client.get_manifest(self.ref)

    async def manifest(self, descriptor: Descriptor) -> FetchedManifest:
        return await self.client.get_manifest(self.ref.with_digest(descriptor.digest))

    async def tagged(self, tag: str) -> FetchedManifest | None:
        try:
            return await self.client.get_manifest(self.ref.with_tag(tag))
        except RegistryNotFound:
            return None

    async def referrers(self, digest: str) -> tuple[Descriptor, ...]:
        return await self.client.referrers(self.ref.with_digest(digest))

    async def read(self, blob: Descriptor) -> bytes:
        return await self.client.get_blob(self.ref, blob, MAX_SMALL_BLOB)

    async def chunk_table(self, manifest: Manifest) -> ChunkTable | None:
        return await self.client.chunk_table(self.ref, manifest)

    def repository_in(self, registry: str) -> str:
        return self.ref.repository if self.ref.registry == registry else ""

    @asynccontextmanager
    async def opened(self, blob: Descriptor) -> AsyncIterator[Path | BlobSource]:
        relayed = RelayedBlob(self.client, self.ref, blob)
        try:
            yield relayed
        finally:
            await relayed.close()

    async def deliver(self, blob: Descriptor, layout: OciLayout, tell: Tell) -> None:
        await PartialBlob(blob, layout.blobs.path_of(blob.digest)).receive(self.ref, self.client, tell)


@dataclass(frozen=True)
class LayoutSource:
    """An artifact in a layout."""

    layout: OciLayout
    ref: str = ""

    async def root(self) -> FetchedManifest:
        return await self.manifest(self.layout.resolve(self.ref))

    async def manifest(self, descriptor: Descriptor) -> FetchedManifest:
        raw = await asyncio.to_thread(self.layout.blobs.read, descriptor, "manifest")
        return FetchedManifest(raw, descriptor.digest, descriptor.media_type)

    async def tagged(self, tag: str) -> FetchedManifest | None:
        entry = self.layout.refs().get(tag)
        return await self.manifest(entry) if entry else None

    async def referrers(self, digest: str) -> tuple[Descriptor, ...]:
        return await asyncio.to_thread(self.layout.referrers, digest)

    async def read(self, blob: Descriptor) -> bytes:
        return await asyncio.to_thread(self.layout.blobs.read, blob)

    async def chunk_table(self, manifest: Manifest) -> ChunkTable | None:
        return await asyncio.to_thread(self.layout.chunk_table, manifest)

    def repository_in(self, registry: str) -> str:
        return ""

    @asynccontextmanager
    async def opened(self, blob: Descriptor) -> AsyncIterator[Path | BlobSource]:
        self.layout.blobs.open(blob).close()  # there, and of the right size
        yield self.layout.blobs.path_of(blob.digest)

    async def deliver(self, blob: Descriptor, layout: OciLayout, tell: Tell) -> None:
        def link() -> None:
            self.layout.blobs.check(blob)
            layout.blobs.add_file(self.layout.blobs.path_of(blob.digest), blob)

        await asyncio.to_thread(link)
        tell("moved", blob.size)


@dataclass(frozen=True)
class RegistryTarget:
    """A place in a registry. `mount_from`: repositories there that may hold blobs already; `records`: a directory
    that remembers half-sent blobs for a later process, None to forget them; `stop`: once set, `take` returns soon and
    leaves blobs unsent."""

    client: RegistryClient
    ref: Reference
    mount_from: tuple[str, ...] = ()
    records: Path | None = None
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    def adding(self) -> AbstractContextManager[None]:
        return nullcontext()  # registries wait days before they remove a blob

    async def take(self, blob: Descriptor, source: Source, tell: Tell) -> None:
        if self.stop.is_set() or await self._has(blob, source, tell):
            return
        if self.records is None:
            await self._send(blob, source, tell, None)
            return
        async with upload_record(self.records, self.ref, blob.digest, self.stop) as record:
            if await self.client.has_blob(self.ref, blob.digest):  # another process sent it while we waited
                tell("present", blob.size)
            else:
                with suppress(UploadPaused):
                    await self._send(blob, source, tell, record)
            if not self.stop.is_set():
                record.finish()

    async def add(self, content: Path | bytes, blob: Descriptor) -> None:
        if not await self.client.has_blob(self.ref, blob.digest):
            await self.client.upload_blob(self.ref, content, blob.digest, blob.size)

    async def put(self, manifest: FetchedManifest) -> None:
        ref = Reference(self.ref.registry, self.ref.repository, digest=manifest.digest)
        await self.client.put_manifest(ref, manifest.raw, manifest.media_type)

    async def refer(self, manifest: FetchedManifest) -> None:
        if isinstance(parse_manifest(manifest.raw, manifest.media_type), Index):
            await self.put(manifest)  # only registries that list referrers themselves can find it
            return
        await self.client.put_referrer(self.ref, manifest.raw, manifest.media_type)

    async def name(self, manifest: FetchedManifest, tag: str) -> None:
        ref = replace(self.ref, tag=tag, digest=None) if tag else self.ref
        await self.client.put_manifest(ref, manifest.raw, manifest.media_type)

    async def _has(self, blob: Descriptor, source: Source, tell: Tell) -> bool:
        if await self.client.has_blob(self.ref, blob.digest):
            tell("present", blob.size)
            return True
        for repository in self._near(source):
            if await self.client.mount_blob(self.ref, blob.digest, repository):
                tell("mounted", blob.size)
                return True
        return False

    async def _send(self, blob: Descriptor, source: Source, tell: Tell, record: UploadRecord | None) -> None:
        def sent(count: int) -> None:
            tell("moved", count)

        try:
            async with source.opened(blob) as content:
                before = await self.client.upload_blob(self.ref, content, blob.digest, blob.size, sent, record=record)
        except SourceFailed as failure:
            raise failure.error from failure.error.__cause__
        if before:
            tell("moved", -before)
            tell("present", before)

    def _near(self, source: Source) -> list[str]:
        """Repositories of this registry that may have it."""
        near = dict.fromkeys((source.repository_in(self.ref.registry), *self.mount_from))
        return [repository for repository in near if repository not in ("", self.ref.repository)]


@dataclass(frozen=True)
class LayoutTarget:
    """A place in a layout: the name its index gives the artifact, which may be empty."""

    layout: OciLayout
    ref: str = ""

    def adding(self) -> AbstractContextManager[None]:
        return self.layout.adding()

    async def take(self, blob: Descriptor, source: Source, tell: Tell) -> None:
        if self.layout.blobs.has(blob):
            tell("present", blob.size)
        else:
            await source.deliver(blob, self.layout, tell)

    async def add(self, content: Path | bytes, blob: Descriptor) -> None:
        if isinstance(content, bytes):
            await asyncio.to_thread(self.layout.blobs.add, content, blob.media_type)
        else:
            await asyncio.to_thread(self.layout.blobs.add_file, content, blob)

    async def put(self, manifest: FetchedManifest) -> None:
        await asyncio.to_thread(self.layout.blobs.add, manifest.raw, manifest.media_type)

    async def refer(self, manifest: FetchedManifest) -> None:
        await asyncio.to_thread(self.layout.add_manifest, manifest.raw, media_type=manifest.media_type)

    async def name(self, manifest: FetchedManifest, tag: str) -> None:
        name = tag or self.ref
        await asyncio.to_thread(self.layout.add_manifest, manifest.raw, name, media_type=manifest.media_type)
