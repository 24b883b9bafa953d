"""Manifests that refer to another one, in a registry: found by the referrers API or by the fall-back tag, and stored
so that both find them."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from modelpack.digests import sha256_digest
from modelpack.errors import InvalidManifest, RegistryError, RegistryNotFound
from modelpack.manifest import MAX_MANIFEST_BYTES, Descriptor, Index, Manifest, encode_manifest, parse_manifest
from modelpack.mediatypes import OCI_INDEX
from modelpack.oci import manifests
from modelpack.oci.answers import Subject
from modelpack.oci.catalogue import listing, malformed, pages
from modelpack.oci.connection import Ask, Connection
from modelpack.reference import Reference
from modelpack.referrers import descriptor_of, fallback_tag

_TRIES = 8  # at changing the fall-back index, which others may change at the same time
_SUBJECT_HEADER = "OCI-Subject"


async def find(connection: Connection, ref: Reference, digest: str, artifact_type: str) -> tuple[Descriptor, ...]:
    """See `RegistryClient.referrers`."""
    ask = listing(ref, f"/v2/{ref.repository}/referrers/{digest}", Subject(ref, "referrers", digest))
    ask = replace(ask, headers={"Accept": OCI_INDEX})
    found: list[Descriptor] = []
    try:
        async for response, body in pages(connection, ask, MAX_MANIFEST_BYTES):
            found += _index(ask, body, str(response.headers.get("Content-Type", ""))).manifests
    except RegistryNotFound:
        found = list((await _tagged(connection, ref, digest, ask)).manifests)
    return tuple(entry for entry in found if artifact_type in ("", entry.artifact_type))


async def put(connection: Connection, ref: Reference, raw: bytes, media_type: str) -> str:
    """See `RegistryClient.put_referrer`."""
    manifest = parse_manifest(raw, media_type)
    if not isinstance(manifest, Manifest) or manifest.subject is None:
        raise InvalidManifest("A manifest without a subject refers to nothing.", remedy="Give it a subject.")
    place = Reference(ref.registry, ref.repository, digest=sha256_digest(raw))
    stored = await manifests.store(connection, place, raw, manifest.media_type)
    if stored.headers.get(_SUBJECT_HEADER, "") != manifest.subject.digest:
        await _enter(connection, ref, manifest.subject.digest, descriptor_of(raw, manifest))
    return place.version


async def _enter(connection: Connection, ref: Reference, subject: str, entry: Descriptor) -> None:
    """Add to the index under the fall-back tag, and look afterwards whether somebody else's index replaced this one."""
    ask = Ask("GET", "", Subject(ref, "referrers", subject), ())
    tag = Reference(ref.registry, ref.repository, fallback_tag(subject))
    for _ in range(_TRIES):
        index = await _tagged(connection, ref, subject, ask)
        if any(known.digest == entry.digest for known in index.manifests):
            return
        index = msgspec.structs.replace(index, manifests=(*index.manifests, entry))
        await manifests.put(connection, tag, encode_manifest(index), OCI_INDEX)
    raise RegistryError(
        f"The list of what refers to {subject} in {ref.name} kept being changed by others.",
        remedy="Try again when nobody else attaches anything to it.",
    )


async def _tagged(connection: Connection, ref: Reference, digest: str, ask: Ask) -> Index:
    """distribution-spec 1.1: without the API, the referrers are an index tagged by the subject's digest."""
    try:
        fetched = await manifests.get(connection, Reference(ref.registry, ref.repository, fallback_tag(digest)))
    except RegistryNotFound:
        return Index(schema_version=2, media_type=OCI_INDEX, manifests=())
    return _index(ask, fetched.raw, fetched.media_type)


def _index(ask: Ask, body: bytes, media_type: str) -> Index:
    try:
        index = parse_manifest(body, media_type)
    except InvalidManifest as error:
        raise malformed(ask, f"is no index: {error.message}") from None
    if not isinstance(index, Index):
        raise malformed(ask, "is a manifest, not an index")
    return index
