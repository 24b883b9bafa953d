"""Manifests by tag or digest: fetched with everything checked that can be checked, and stored."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import msgspec

from modelpack.digests import digest_of, digest_problem, sha256_digest
from modelpack.errors import DigestMismatch, RegistryNotFound, RegistryProtocolError
from modelpack.manifest import MAX_MANIFEST_BYTES
from modelpack.mediatypes import ACCEPT, INDEXES, MANIFESTS, OCI_INDEX, OCI_MANIFEST
from modelpack.oci.answers import Subject
from modelpack.oci.connection import Ask, Connection, Response
from modelpack.reference import Reference

_DIGEST_HEADER = "Docker-Content-Digest"


@dataclass(frozen=True, slots=True)
class ManifestHead:
    """What a tag points at. `size` in bytes."""

    digest: str
    size: int
    media_type: str


@dataclass(frozen=True, slots=True)
class FetchedManifest:
    """A manifest as the registry served it: keep `raw`, its digest depends on every byte."""

    raw: bytes = field(repr=False)
    digest: str
    media_type: str


class _Shape(msgspec.Struct):
    """As much of a document as tells its kind."""

    mediaType: str = ""
    manifests: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    config: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    layers: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


async def head(connection: Connection, ref: Reference) -> ManifestHead:
    """See `RegistryClient.head_manifest`."""
    try:
        response, _ = await connection.fetch(_ask("HEAD", ref))
    except RegistryNotFound:
        # an answer to HEAD has no body, so no error code: GET tells a wrong repository from a wrong tag
        return _head_of(await get(connection, ref))
    digest, length = response.headers.get(_DIGEST_HEADER, ""), response.headers.get("Content-Length", "")
    media_type = _media_type(response)
    if digest_problem(digest) or not length.isdigit() or media_type not in MANIFESTS | INDEXES:
        return _head_of(await get(connection, ref))
    if ref.digest and ref.digest != digest:
        raise _mismatch(ref, ref.digest, digest)
    return ManifestHead(digest, int(length), media_type)


async def get(connection: Connection, ref: Reference) -> FetchedManifest:
    """See `RegistryClient.get_manifest`."""
    ask = _ask("GET", ref)
    response, raw = await connection.fetch(ask, limit=MAX_MANIFEST_BYTES)
    for promised in (ref.digest, response.headers.get(_DIGEST_HEADER)):
        if promised and not digest_problem(promised) and (actual := digest_of(raw, promised)) != promised:
            raise _mismatch(ref, promised, actual)
    digest = ref.digest or sha256_digest(raw)
    return FetchedManifest(raw, digest, _sniffed(_media_type(response), raw, ask.subject))


async def put(connection: Connection, ref: Reference, raw: bytes, media_type: str) -> str:
    """See `RegistryClient.put_manifest`."""
    await store(connection, ref, raw, media_type)
    return _digest_for(ref, raw)


async def store(connection: Connection, ref: Reference, raw: bytes, media_type: str) -> Response:
    """Put a manifest; the registry's answer, whose headers say what it made of it. Raises as `put`."""
    digest = _digest_for(ref, raw)
    if ref.digest and ref.digest != digest:
        raise _mismatch(ref, ref.digest, digest)

    async def body() -> AsyncIterator[bytes]:
        yield raw

    ask = Ask(
        "PUT",
        f"/v2/{ref.repository}/manifests/{ref.tag or ref.version}",
        Subject(ref, "manifest"),
        (f"repository:{ref.repository}:pull,push",),
        {"Content-Type": media_type, "Content-Length": str(len(raw))},
        body,
        frozenset({200, 201, 202}),
    )
    response, _ = await connection.fetch(ask, limit=MAX_MANIFEST_BYTES)
    stored = response.headers.get(_DIGEST_HEADER, digest)
    if not digest_problem(stored) and digest_of(raw, stored) != stored:
        raise _mismatch(ref, digest, stored)
    return response


def _digest_for(ref: Reference, raw: bytes) -> str:
    return digest_of(raw, ref.digest) if ref.digest else sha256_digest(raw)


def _ask(method: str, ref: Reference) -> Ask:
    return Ask(
        method,
        f"/v2/{ref.repository}/manifests/{ref.version}",
        Subject(ref, "manifest"),
        (f"repository:{ref.repository}:pull",),
        {"Accept": ", ".join(ACCEPT)},
    )


def _head_of(manifest: FetchedManifest) -> ManifestHead:
    return ManifestHead(manifest.digest, len(manifest.raw), manifest.media_type)


def _media_type(response: Response) -> str:
    return str(response.headers.get("Content-Type", "")).partition(";")[0].strip().lower()


def _sniffed(told: str, raw: bytes, subject: Subject) -> str:
    """The media type, from the document itself where the registry calls it something else (text/plain)."""
    if told in MANIFESTS | INDEXES:
        return told
    try:
        shape = msgspec.json.decode(raw, type=_Shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        shape = _Shape()
    if shape.mediaType in MANIFESTS | INDEXES:
        return shape.mediaType
    if shape.manifests is not msgspec.UNSET:
        return OCI_INDEX
    if shape.config is not msgspec.UNSET or shape.layers is not msgspec.UNSET:
        return OCI_MANIFEST
    raise RegistryProtocolError(
        f"{subject.registry} answers with {told[:80] or 'something unnamed'} for {subject}, which is no manifest.",
        remedy="Check the registry's name: a web page or a login proxy may have answered in its place.",
    )


def _mismatch(ref: Reference, promised: str, actual: str) -> DigestMismatch:
    return DigestMismatch(
        f"The manifest of {ref} has the digest {actual}, promised was {promised}.",
        remedy="Nothing of it was used. Pull again; if it repeats, do not trust this registry.",
    )
