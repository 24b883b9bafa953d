"""An OCI registry as a Python object: manifests, blobs, tags, referrers; reading and writing.

    async with RegistryClient(credentials=DockerCredentials.from_environment()) as client:
        manifest = await client.get_manifest(Reference.parse("registry.example/org/model:v1"))

Every failure is a RegistryError (or DigestMismatch) that names the thing and says what to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import httpx2

from modelpack.errors import InvalidChunkTable, RegistryError
from modelpack.manifest import Descriptor
from modelpack.oci import manifests
from modelpack.oci.addresses import Resolve, resolve_by_system
from modelpack.oci.answers import Subject
from modelpack.oci.connection import Ask, Connection, PlainHttp
from modelpack.oci.credentials import Credentials
from modelpack.oci.deadlines import ANSWER
from modelpack.oci.manifests import FetchedManifest, ManifestHead
from modelpack.oci.redirects import REDIRECTS
from modelpack.oci.retry import RetryPolicy
from modelpack.reference import Reference

if TYPE_CHECKING:
    from modelpack.chunk_table import ChunkTable
    from modelpack.manifest import Manifest
    from modelpack.oci.blob_sources import BlobSource
    from modelpack.oci.blobs import BlobLocation
    from modelpack.oci.uploads import OnBytes, Record
    from modelpack.referrers import Attachment

USER_AGENT = "modelpack"
TIMEOUT = httpx2.Timeout(60.0, connect=10.0, pool=None)  # seconds without any progress


CHUNK = 16 * 1024 * 1024  # bytes of one PATCH


class RegistryClient:
    """Speaks to any number of registries; used as an async context manager, by one event loop.

    `credentials`: None to stay a stranger. `plain_http`: the registries (`host[:port]`) to speak to without TLS, or a
    function that says so; a registry on loopback is asked that way first, and by TLS if that is what it speaks.
    `chunk`: bytes of one request when a large blob is uploaded. `verify`: a context with other certificate authorities.
    `answer`: seconds to the head of an answer, and as many for the body of a small one.
    """

    def __init__(
        self,
        *,
        credentials: Credentials | None = None,
        plain_http: PlainHttp = frozenset[str](),
        user_agent: str = USER_AGENT,
        timeout: httpx2.Timeout = TIMEOUT,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen
        chunk: int = CHUNK,
        resolve: Resolve = resolve_by_system,
        verify: ssl.SSLContext | bool = True,
        answer: float = ANSWER,
    ) -> None:
        self._chunk = chunk
        self._attaching = asyncio.Lock()  # a fall-back index is read, changed and written
        self._connection = Connection(
            credentials=credentials,
            plain_http=plain_http,
            user_agent=user_agent,
            timeout=timeout,
            retry=retry,
            resolve=resolve,
            verify=verify,
            answer=answer,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._connection.close()

    def endpoint(self, registry: str) -> str:
        """The registry's base URL. Of one on loopback, http until an answer told that it speaks TLS."""
        return f"{self._connection.base(registry).scheme}://{registry}"

    async def check_access(self, registry: str) -> None:
        """Prove that the registry is there and takes the credentials. Raises RegistryUnauthorized, RegistryError."""
        subject = Subject(Reference(registry, ""), "registry")
        await self._connection.fetch(Ask("GET", "/v2/", subject, ()), limit=64 * 1024)

    # manifests

    async def head_manifest(self, ref: Reference) -> ManifestHead:
        """What the reference means now, by one request without a body where the registry sends its digest."""
        return await manifests.head(self._connection, ref)

    async def get_manifest(self, ref: Reference) -> FetchedManifest:
        """The manifest's bytes (at most 4 MiB), checked against a pinned digest and the one the registry names.
        Raises DigestMismatch."""
        return await manifests.get(self._connection, ref)

    async def put_manifest(self, ref: Reference, raw: bytes, media_type: str) -> str:
        """Store a manifest under the tag, or under its digest when there is none; the tag is moved. Returns the digest.
        Raises DigestMismatch when `ref` is pinned to another one."""
        return await manifests.put(self._connection, ref, raw, media_type)

    # blobs

    async def has_blob(self, ref: Reference, digest: str) -> bool:
        """Whether the repository holds the blob. A redirect means yes; it is not followed."""
        answer = await self._connection.peek(replace(_blob(ref, digest), method="HEAD", expect=REDIRECTS | {200, 404}))
        return answer.status_code != 404

    async def blob_size(self, ref: Reference, digest: str) -> int:
        """How many bytes a blob of the repository has, of which at most one is read. Raises RegistryNotFound,
        RegistryError."""
        from modelpack.oci import blobs

        return await blobs.size(self._connection, _blob(ref, digest))

    async def get_blob(self, ref: Reference, descriptor: Descriptor, max_size: int) -> bytes:
        """A whole blob in memory, verified. Raises DigestMismatch; SizeMismatch when it is larger than `max_size`
        bytes (nothing is fetched then)."""
        from modelpack.oci import blobs

        return await blobs.get(self._connection, _blob(ref, descriptor.digest), descriptor, max_size)

    def stream_blob(
        self, ref: Reference, digest: str, start: int = 0, length: int | None = None, *, size: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Bytes [start, start+length) of a blob (to its end when `length` is None), in pieces, in order.

        A broken connection is resumed where it broke. `size`, the blob's size when known, is compared with the answer
        before the first byte. The digest is the caller's to check, as this may be only a part. Close the iterator
        (`contextlib.aclosing`) when leaving it early. Raises RegistryError.
        """
        from modelpack.oci import blobs

        return blobs.stream(self._connection, _blob(ref, digest), start, length, size)

    async def locate_blob(self, ref: Reference, digest: str) -> BlobLocation:
        """Where a blocking reader can fetch ranges of the blob, and with which headers.

        Authenticates and follows redirects by hand; no request it makes carries a byte of the blob. A registry that
        serves blobs itself gives its own URL with the Authorization header; one that redirects to a store gives the
        presigned URL without it. Raises RegistryError.
        """
        from modelpack.oci import blobs

        return await blobs.locate(self._connection, _blob(ref, digest))

    async def chunk_table(self, ref: Reference, manifest: Manifest) -> ChunkTable | None:
        """The chunk table that a model's manifest names, checked; None when it names none.

        Raises DigestMismatch and InvalidChunkTable when it is not what the manifest says or contradicts it,
        RegistryNotFound when the repository does not have it, RegistryError.
        """
        from modelpack.chunk_table import MAX_TABLE_BYTES, table_digest, table_of

        if not (digest := table_digest(manifest)):
            return None
        raw = bytearray()
        async with contextlib.aclosing(self.stream_blob(ref, digest)) as pieces:
            async for piece in pieces:
                raw += piece
                if len(raw) > MAX_TABLE_BYTES:
                    raise InvalidChunkTable(
                        f"The chunk table {digest} has more than {MAX_TABLE_BYTES} bytes.",
                        remedy="Ask its publisher to cut large blobs into larger chunks.",
                    )
        return table_of(manifest, bytes(raw), digest)

    async def mount_blob(self, target: Reference, digest: str, from_repository: str) -> bool:
        """Have the registry take a blob over from another of its repositories; False when it will not."""
        subject = Subject(target, "blob", digest)
        scopes = (*_push(target), f"repository:{from_repository}:pull")
        query = httpx2.QueryParams({"mount": digest, "from": from_repository})
        ask = Ask("POST", f"{_uploads(target)}?{query}", subject, scopes, expect=frozenset({201, 202}))
        with contextlib.suppress(RegistryError):  # only a short cut: an upload will tell what is wrong
            return (await self._connection.peek(ask)).status_code == 201
        return False

    async def upload_blob(
        self,
        ref: Reference,
        source: Path | bytes | BlobSource,
        digest: str,
        size: int,
        on_bytes: OnBytes | None = None,
        *,
        record: Record | None = None,
    ) -> int:
        """Store a blob of `size` bytes from a file, from memory or from elsewhere; the registry verifies the digest.

        A broken upload goes on from what the registry has; with a `record`, also one that an earlier process began.
        Returns the bytes that such a one had sent; `on_bytes` is told of them too. Raises RegistryError;
        DigestMismatch when the source's bytes are others than promised; what the source raises.
        """
        from modelpack.oci.blob_sources import BytesBlob, FileBlob
        from modelpack.oci.uploads import Upload

        ask = Ask("POST", _uploads(ref), Subject(ref, "blob", digest), _push(ref))
        if isinstance(source, bytes):
            source = BytesBlob(source)
        elif isinstance(source, Path):
            source = FileBlob(source, size)
        upload = Upload(self._connection, ask, source, digest, size, self._chunk, on_bytes, record)
        await upload.run()
        return upload.resumed

    # listings

    async def list_tags(self, ref: Reference) -> list[str]:
        """Every tag of the repository, in the registry's order."""
        from modelpack.oci import catalogue

        return await catalogue.tags(self._connection, ref)

    async def referrers(self, ref: Reference, artifact_type: str = "") -> tuple[Descriptor, ...]:
        """The manifests whose subject is this one (signatures, chunk tables), of one artifact type unless empty.

        Registries without the referrers API are asked for the fall-back tag `sha256-<hex>`.
        """
        from modelpack.oci import referrers

        digest = ref.digest or (await self.head_manifest(ref)).digest
        return await referrers.find(self._connection, ref, digest, artifact_type)

    async def put_referrer(self, ref: Reference, raw: bytes, media_type: str) -> str:
        """Store a manifest that has a `subject` in the repository of `ref`, so that `referrers` finds it there.

        A registry that does not say (by the header OCI-Subject) that it keeps account of referrers gets the index under
        the fall-back tag `sha256-<hex>` as well; of several processes that do that for one subject at the same moment,
        one may lose its entry, as registries know no compare-and-set. Its blobs have to be there. Returns the digest.
        Raises InvalidManifest when it has no subject, RegistryError.
        """
        from modelpack.oci import referrers

        async with self._attaching:
            return await referrers.put(self._connection, ref, raw, media_type)

    async def attach(self, ref: Reference, what: Attachment) -> str:
        """Upload a small artifact that refers to another one and store its manifest: see `put_referrer`."""
        for descriptor, data in what.blobs:
            if not await self.has_blob(ref, descriptor.digest):
                await self.upload_blob(ref, data, descriptor.digest, descriptor.size)
        return await self.put_referrer(ref, what.raw, what.manifest.media_type)


def _blob(ref: Reference, digest: str) -> Ask:
    return Ask(
        "GET",
        f"/v2/{ref.repository}/blobs/{digest}",
        Subject(ref, "blob", digest),
        (f"repository:{ref.repository}:pull",),
    )


def _uploads(ref: Reference) -> str:
    return f"/v2/{ref.repository}/blobs/uploads/"


def _push(ref: Reference) -> tuple[str, ...]:
    return (f"repository:{ref.repository}:pull,push",)
