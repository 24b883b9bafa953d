"""OCI registries: `org/model:tag`, `registry/org/model@sha256:…`, through modelpack's client.

The client lives on a loop of its own, as both the callers' event loop (resolving) and reading threads (locating blobs)
use it. What only resolving or reading needs is imported there: asking whether a tag still means what is here must
start fast.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from modeldist.artifact import Artifact, Digest
from modeldist.errors import AccessDenied, AuthenticationRequired, NotFound, OriginProtocolError
from modeldist.origins import repo_ids, table_missed
from modeldist.origins.background_loop import BackgroundLoop
from modeldist.origins.base import OnBytes, RangeReader
from modeldist.origins.blob_locations import BlobLocations
from modeldist.origins.http_dialing import Dialer
from modeldist.origins.identity import revision_of
from modeldist.origins.modelpack_errors import in_our_words, remedies
from modeldist.origins.registry_references import endpoint_of, otherwise, parse_reference
from modeldist.origins.settings import OriginSettings
from modelpack.reference import Reference

if TYPE_CHECKING:
    from modeldist.origins.http_answers import Source
    from modeldist.origins.ranged_http import RangedHttp
    from modeldist.origins.trust_gate import TrustGate
    from modelpack.chunk_table import ChunkTable
    from modelpack.manifest import Manifest
    from modelpack.oci.blobs import BlobLocation
    from modelpack.oci.client import RegistryClient
    from modelpack.trust.judging import Verdict
    from modelpack.trust.shelf import Shelf

MANIFEST = "manifest"
"""Locator of what a registry keeps among its manifests; blobs have none."""
NESTED_INDEXES = 3


class OciOrigin:
    """See `modeldist.origins.base.Origin`."""

    def __init__(self, settings: OriginSettings, dialer: Dialer, gate: TrustGate | None = None) -> None:
        self._settings = settings
        self._gate = gate
        self._dialer = dialer
        self._loop = BackgroundLoop("modeldist-registries")
        self._client: RegistryClient | None = None
        self._locations = BlobLocations()

    def matches(self, reference: str) -> bool:
        return "://" not in reference and not reference.startswith(("file:", "oci-layout:"))

    def canonical(self, reference: str) -> str:
        """`registry/repository:tag`, the default registry and tag written out."""
        ref = self._parse(reference)
        return str(ref if ref.tag or ref.digest else ref.with_tag("latest"))

    async def resolve(self, reference: str) -> Artifact:
        ref = self._parse(reference)
        try:
            with in_our_words(reference, ref.registry):
                return await self._loop.wait(self._resolve(ref))
        except (NotFound, AuthenticationRequired, AccessDenied) as error:
            if elsewhere := otherwise(reference):
                raise type(error)(error.message, remedy=f"{error.remedy} {elsewhere}".strip()) from error
            raise

    async def still(self, artifact: Artifact, reference: str) -> bool:
        """One HEAD of the manifest; where the registry wants to know who asks, what a token costs besides. A model
        whose chunk table could not be had is resolved again."""
        ref = self._parse(reference)
        if table_missed.missed(artifact):
            return False
        if ref.name != artifact.name or ref.digest is not None:
            return ref.name == artifact.name and ref.digest == artifact.digest
        if self._client is None and (digest := await asyncio.to_thread(self._glance, ref)):
            return digest == artifact.digest
        with in_our_words(reference, ref.registry):
            return await self._loop.wait(self._digest_now(ref)) == artifact.digest

    def reader(self, artifact: Artifact) -> RangeReader:
        from modeldist.origins.ranged_http import RangedHttp

        return OciReader(self, artifact, RangedHttp(self._dialer))

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await self._loop.wait(client.close())
        await asyncio.to_thread(self._loop.stop)

    def _glance(self, ref: Reference) -> str:
        from modeldist.origins.registry_glance import manifest_digest

        return manifest_digest(self._dialer, endpoint_of(ref.registry, self._settings.plain_http), ref)

    def locate(self, artifact: Artifact, shard: Digest, refused: BlobLocation | None) -> tuple[BlobLocation, Source]:
        """Where a thread reads the shard; `refused` is an earlier location that no longer works. Blocks."""
        from modeldist.origins.http_answers import Source

        ref = self._parse(artifact.reference)
        file = artifact.file_of(shard)
        label = f"{file.path} of {artifact.name}"
        with in_our_words(label, ref.registry):
            location = self._loop.run(self._locate(ref, shard, refused))
        return location, Source(
            location.url,
            label,
            file.size,
            headers=location.headers,
            renewable=True,
            remedies=remedies(ref.registry),
        )

    def manifest_bytes(self, artifact: Artifact, shard: Digest) -> bytes:
        """What a registry keeps among its manifests, which it gives no ranges of. Blocks."""
        ref = self._parse(artifact.reference)
        file = artifact.file_of(shard)
        with in_our_words(f"{file.path} of {artifact.name}", ref.registry):
            raw = self._loop.run(self._manifest(ref.with_digest(shard)))
        if len(raw) != file.size:
            raise OriginProtocolError(
                f"{file.path} of {artifact.name} has {len(raw)} bytes, not {file.size}.",
                remedy="Tell the registry's operator.",
            )
        return raw

    def _parse(self, reference: str) -> Reference:
        return parse_reference(reference, self._settings.default_registry)

    def _registry(self) -> RegistryClient:
        """Made on the background loop, where it is used."""
        if self._client is None:
            from modeldist.origins.registry_client import open_client

            self._client = open_client(self._settings, self._dialer)
        return self._client

    async def _resolve(self, ref: Reference) -> Artifact:
        from modeldist.origins.chunk_tables import index_shard, shard_chunks
        from modeldist.origins.models import checked_sha256, files_of
        from modelpack.blobs import MAX_SMALL_BLOB
        from modelpack.manifest import Manifest, choose_manifest, parse_manifest

        client = self._registry()
        fetched = await client.get_manifest(ref)
        digest = checked_sha256(fetched.digest)
        found = parse_manifest(fetched.raw, fetched.media_type)
        digests = [fetched.digest]
        for _ in range(NESTED_INDEXES):
            if isinstance(found, Manifest):
                break
            chosen = choose_manifest(found)
            inner = await client.get_manifest(ref.with_digest(chosen.digest))
            found = parse_manifest(inner.raw, chosen.media_type)
            digests.append(chosen.digest)
        if not isinstance(found, Manifest):
            raise OriginProtocolError(f"{ref}: its indexes are nested too deeply.", remedy="Name the model's digest.")
        config = await client.get_blob(ref, found.config, MAX_SMALL_BLOB)
        files, warnings = files_of(found, config)
        verdict = await self._vouched(ref, digests, found, config)
        table, missing = await self._table(ref, digests[-1], found, verdict)
        artifact = Artifact(
            reference=f"{ref.name}@{digest}",
            name=ref.name,
            tag=ref.tag or ("" if ref.digest else "latest"),
            digest=digest,
            revision=revision_of(digest),
            repo_id=repo_ids.of_repository(ref.registry, ref.repository),
            origin="oci",
            endpoint=client.endpoint(ref.registry),
            repository=ref.repository,
            files=files,
            warnings=(*warnings, *missing),
            chunks=shard_chunks(table),
            index=index_shard(table),
        )
        return self._gate.approved(artifact) if self._gate else artifact

    async def _vouched(self, ref: Reference, digests: list[str], manifest: Manifest, config: bytes) -> Verdict | None:
        """Why the policy lets the model pass. Raises modelpack's Untrusted."""
        if self._gate is None:
            return None
        return await self._gate.check(self._shelf(ref), ref.name, digests, manifest, config)

    def _shelf(self, ref: Reference) -> Shelf:
        from modelpack.trust.shelf import RegistryShelf

        return RegistryShelf(self._registry(), ref)

    async def _table(
        self, ref: Reference, digest: str, manifest: Manifest, verdict: Verdict | None
    ) -> tuple[ChunkTable | None, tuple[str, ...]]:
        """The chunk table, and what to say where it is not to be had. One that is there and wrong is an error."""
        from modelpack.errors import RegistryError

        table: ChunkTable | None = None
        missing: tuple[str, ...] = ()
        try:
            table = await self._registry().chunk_table(ref, manifest)
        except RegistryError as error:
            missing = (table_missed.warning(error.message),)
        if self._gate is not None and verdict is not None:
            table = await self._gate.table(verdict, self._shelf(ref), ref.name, digest, manifest, table)
        return table, missing if table is None else ()

    async def _digest_now(self, ref: Reference) -> str:
        return (await self._registry().head_manifest(ref)).digest

    async def _locate(self, ref: Reference, shard: Digest, refused: BlobLocation | None) -> BlobLocation:
        return await self._locations.find((ref.name, shard), refused, lambda: self._registry().locate_blob(ref, shard))

    async def _manifest(self, ref: Reference) -> bytes:
        return (await self._registry().get_manifest(ref)).raw


class OciReader:
    """Reads blobs where the registry says they are, and manifests whole."""

    def __init__(self, origin: OciOrigin, artifact: Artifact, http: RangedHttp) -> None:
        self._origin = origin
        self._artifact = artifact
        self._http = http
        self._manifest: tuple[Digest, bytes] | None = None  # the last one that was read

    def read(self, shard: Digest, start: int, length: int, fd: int, offset: int, on_bytes: OnBytes) -> None:
        if self._artifact.locator(shard) == MANIFEST:
            self._read_manifest(shard, start, length, fd, offset)
            on_bytes(length)
            return
        last: BlobLocation | None = None

        def locate(renew: bool) -> Source:
            nonlocal last
            last, source = self._origin.locate(self._artifact, shard, last if renew else None)
            return source

        self._http.read(locate, start, length, fd, offset, on_bytes)

    def _read_manifest(self, shard: Digest, start: int, length: int, fd: int, offset: int) -> None:
        if self._manifest is None or self._manifest[0] != shard:
            self._manifest = shard, self._origin.manifest_bytes(self._artifact, shard)
        wanted = memoryview(self._manifest[1])[start : start + length]
        while wanted:
            written = os.pwrite(fd, wanted, offset)
            wanted, offset = wanted[written:], offset + written

    def ahead(self, shard: Digest, start: int, length: int) -> None:
        """The registry may have to be asked first where the blob is, which would be waited for."""

    def close(self) -> None:
        self._http.close()
