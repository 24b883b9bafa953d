"""Whole models between an OCI layout and a registry: what is there already is not sent again, what is sent is checked.

Blobs go at most four at once; the manifest goes last, so that a tag never names an incomplete model.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from modelpack.errors import InvalidManifest, ModelPackError, RegistryError
from modelpack.layout import OciLayout
from modelpack.manifest import Descriptor, Manifest, choose_manifest, parse_manifest
from modelpack.oci.client import RegistryClient
from modelpack.oci.manifests import FetchedManifest
from modelpack.oci.partial_blob import PartialBlob
from modelpack.reference import Reference
from modelpack.referrers import PROOFS

PARALLEL = 4  # blobs
_MAX_NESTING = 4  # indexes within indexes
_MAX_PROOFS = 2  # a table, and a signature of that table


@dataclass(frozen=True, slots=True)
class Progress:
    """A step of one blob: `done` more bytes of it were moved, found present, or mounted from another repository.

    The steps of a finished blob add up to its size; where its beginning turned out to be damaged and is fetched again,
    steps take bytes back.
    """

    descriptor: Descriptor
    how: Literal["moved", "present", "mounted"]
    done: int  # bytes


OnProgress = Callable[[Progress], None]


async def push(
    layout: OciLayout,
    ref: str,
    target: Reference,
    client: RegistryClient,
    on_progress: OnProgress | None = None,
    *,
    mount_from: Iterable[str] = (),
    parallel: int = PARALLEL,
    proofs: Collection[str] = PROOFS,
) -> str:
    """Push the manifest called `ref` in the layout to `target` and move its tag there. Returns the manifest's digest.

    Manifests of the artifact types `proofs` that refer to it go with it, before the tag is moved. `mount_from` names
    repositories of the same registry that may hold blobs already. Raises RegistryError, LayoutError, DigestMismatch,
    InvalidManifest.
    """
    sources = tuple(repository for repository in mount_from if repository != target.repository)
    tell = on_progress or _ignore
    sent: set[str] = set()

    async def send(blob: Descriptor) -> None:
        if blob.digest in sent:  # a file of the model may be what the table's config is, too
            return
        sent.add(blob.digest)
        if await client.has_blob(target, blob.digest):
            tell(Progress(blob, "present", blob.size))
            return
        for source in sources:
            if await client.mount_blob(target, blob.digest, source):
                tell(Progress(blob, "mounted", blob.size))
                return
        layout.blobs.open(blob).close()  # there, and of the right size
        path = layout.blobs.path_of(blob.digest)
        await client.upload_blob(target, path, blob.digest, blob.size, lambda done: tell(Progress(blob, "moved", done)))

    async def send_manifest(descriptor: Descriptor, place: Reference, depth: int) -> str:
        raw = layout.blobs.read(descriptor, "manifest")
        parsed = parse_manifest(raw, descriptor.media_type)
        if isinstance(parsed, Manifest):
            await all_of(send, blobs_of(parsed), parallel)
            await send_referrers(descriptor)
        elif depth == 0:
            raise InvalidManifest(f"The indexes in {layout.path} are nested too deeply.")
        else:
            for child in parsed.manifests:
                inner = Reference(target.registry, target.repository, digest=child.digest)
                await send_manifest(child, inner, depth - 1)
            await send_referrers(descriptor)
        return await client.put_manifest(place, raw, parsed.media_type)

    async def send_referrers(subject: Descriptor, depth: int = _MAX_PROOFS) -> None:
        for entry in layout.referrers(subject.digest) if depth and proofs else ():
            raw = layout.blobs.read(entry, "manifest")
            parsed = parse_manifest(raw, entry.media_type)
            if entry.artifact_type in proofs and isinstance(parsed, Manifest):
                await all_of(send, blobs_of(parsed), parallel)
                await client.put_referrer(target, raw, parsed.media_type)
                await send_referrers(entry, depth - 1)

    return await send_manifest(layout.resolve(ref), target, _MAX_NESTING)


async def pull_layout(
    ref: Reference,
    layout: OciLayout,
    client: RegistryClient,
    on_progress: OnProgress | None = None,
    *,
    name: str | None = None,
    parallel: int = PARALLEL,
    proofs: Collection[str] = PROOFS,
) -> Descriptor:
    """Pull the model `ref` into the layout as `name` (by default its tag). Returns the manifest's descriptor.

    Manifests of the artifact types `proofs` that refer to it come with it, as far as the registry has them. In an
    index, the one model among other images is taken. Blobs the layout holds are not fetched; a broken pull leaves
    finished blobs and the beginnings of others, and the next one goes on from there. Every blob is verified before it
    has its name. Raises RegistryError, DigestMismatch, SizeMismatch, InvalidManifest, UnsupportedArtifact.
    """
    fetched, manifest = await fetch_model(ref, client)
    tell = on_progress or _ignore

    async def receive(blob: Descriptor) -> None:
        if layout.blobs.has(blob):
            tell(Progress(blob, "present", blob.size))
            return
        partial = PartialBlob(blob, layout.blobs.path_of(blob.digest))
        await partial.receive(ref, client, lambda how, done: tell(Progress(blob, how, done)))

    async def receive_referrers(digest: str, depth: int = _MAX_PROOFS) -> None:
        found: tuple[Descriptor, ...] = ()
        with suppress(RegistryError):  # a registry that cannot list what refers to a model still has the model
            found = await client.referrers(ref.with_digest(digest)) if depth and proofs else ()
        for entry in (entry for entry in found if entry.artifact_type in proofs):
            with suppress(ModelPackError):  # and one that lost it, too
                await receive_referrer(entry.digest, digest, depth)

    async def receive_referrer(digest: str, subject: str, depth: int) -> None:
        about = await client.get_manifest(ref.with_digest(digest))
        parsed = parse_manifest(about.raw, about.media_type)
        if isinstance(parsed, Manifest) and parsed.subject and parsed.subject.digest == subject:
            await all_of(receive, blobs_of(parsed), parallel)
            layout.add_manifest(about.raw, media_type=about.media_type)
            await receive_referrers(digest, depth - 1)

    with layout.adding():
        await all_of(receive, blobs_of(manifest), parallel)
        called = (ref.tag or "") if name is None else name
        descriptor = layout.add_manifest(fetched.raw, called, media_type=fetched.media_type)
        await receive_referrers(fetched.digest)
        return descriptor


async def fetch_model(
    ref: Reference, client: RegistryClient, labels: Mapping[str, str] | None = None
) -> tuple[FetchedManifest, Manifest]:
    """The manifest `ref` means, taken out of the index it may stand in: the one model, or the one with these `labels`
    (see `choose_manifest`). Raises as `pull_layout`."""
    for _ in range(_MAX_NESTING):
        fetched = await client.get_manifest(ref)
        parsed = parse_manifest(fetched.raw, fetched.media_type)
        if isinstance(parsed, Manifest):
            return fetched, parsed
        ref = Reference(ref.registry, ref.repository, digest=choose_manifest(parsed, labels or {}).digest)
    raise InvalidManifest(f"The indexes that lead to {ref} are nested too deeply.")


def blobs_of(manifest: Manifest) -> list[Descriptor]:
    """Each blob once, the largest first: the last ones to finish should be short."""
    unique = {blob.digest: blob for blob in (manifest.config, *manifest.layers)}
    return sorted(unique.values(), key=lambda blob: -blob.size)


async def all_of(work: Callable[[Descriptor], Awaitable[None]], blobs: Iterable[Descriptor], parallel: int) -> None:
    """Work on all blobs, `parallel` at once; the first failure stops the others."""
    free = asyncio.Semaphore(parallel)

    async def one(blob: Descriptor) -> None:
        async with free:
            await work(blob)

    try:
        async with asyncio.TaskGroup() as group:
            for blob in blobs:
                group.create_task(one(blob))
    except ExceptionGroup as failures:
        first = failures.exceptions[0]
        raise first from first.__cause__


def _ignore(_: Progress) -> None:
    pass
