"""Listings: the tags of a repository, and the manifests that refer to another one."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace

import msgspec

from modelpack.errors import InvalidManifest, RegistryNotFound, RegistryProtocolError
from modelpack.manifest import MAX_MANIFEST_BYTES, Descriptor, Index, parse_manifest
from modelpack.mediatypes import OCI_INDEX
from modelpack.oci import manifests
from modelpack.oci.answers import Subject
from modelpack.oci.connection import Ask, Connection, Response
from modelpack.oci.redirects import origin
from modelpack.reference import Reference

_MAX_PAGES = 10_000
_MAX_PAGE = 16 * 1024 * 1024  # bytes
_NEXT = re.compile(r'<([^>]*)>[^,]*;\s*rel\s*=\s*"?next"?', re.IGNORECASE)


class TagPage(msgspec.Struct):
    tags: list[str] | None = None


async def tags(connection: Connection, ref: Reference) -> list[str]:
    """See `RegistryClient.list_tags`."""
    ask = _ask(ref, f"/v2/{ref.repository}/tags/list?n=1000", Subject(ref, "tags"))
    found: dict[str, None] = {}
    async for _, body in _pages(connection, ask, _MAX_PAGE):
        try:
            page = msgspec.json.decode(body, type=TagPage)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise _malformed(ask, "is no list of tags") from None
        found |= dict.fromkeys(page.tags or ())
    return list(found)


async def referrers(connection: Connection, ref: Reference, digest: str, artifact_type: str) -> tuple[Descriptor, ...]:
    """See `RegistryClient.referrers`."""
    ask = _ask(ref, f"/v2/{ref.repository}/referrers/{digest}", Subject(ref, "referrers", digest))
    ask = replace(ask, headers={"Accept": OCI_INDEX})
    found: list[Descriptor] = []
    try:
        async for response, body in _pages(connection, ask, MAX_MANIFEST_BYTES):
            found += _index(ask, body, str(response.headers.get("Content-Type", "")))
    except RegistryNotFound:
        found = await _by_tag(connection, ref, digest, ask)
    return tuple(entry for entry in found if artifact_type in ("", entry.artifact_type))


async def _by_tag(connection: Connection, ref: Reference, digest: str, ask: Ask) -> list[Descriptor]:
    """distribution-spec 1.1: without the API, the referrers are an index tagged by the subject's digest."""
    tag = digest.replace(":", "-")[:128]
    try:
        manifest = await manifests.get(connection, Reference(ref.registry, ref.repository, tag))
    except RegistryNotFound:
        return []
    return _index(ask, manifest.raw, manifest.media_type)


def _index(ask: Ask, body: bytes, media_type: str) -> list[Descriptor]:
    try:
        index = parse_manifest(body, media_type)
    except InvalidManifest as error:
        raise _malformed(ask, f"is no index: {error.message}") from None
    if not isinstance(index, Index):
        raise _malformed(ask, "is a manifest, not an index")
    return list(index.manifests)


async def _pages(connection: Connection, ask: Ask, limit: int) -> AsyncIterator[tuple[Response, bytes]]:
    """Every page of a listing, by its Link headers, which may not lead to another server."""
    seen = set()
    for _ in range(_MAX_PAGES):
        response, body = await connection.fetch(ask, limit=limit)
        yield response, body
        url = connection.url(ask)
        seen.add(url)
        following = _NEXT.search(response.headers.get("Link", ""))
        if not following:
            return
        target = url.join(following[1])
        if origin(target) != origin(url) or target in seen:
            raise _malformed(ask, "goes on where it must not")
        ask = replace(ask, url=str(target))
    raise _malformed(ask, f"has more than {_MAX_PAGES} pages")


def _ask(ref: Reference, url: str, subject: Subject) -> Ask:
    return Ask("GET", url, subject, (f"repository:{ref.repository}:pull",))


def _malformed(ask: Ask, problem: str) -> RegistryProtocolError:
    return RegistryProtocolError(
        f"The answer of {ask.subject.registry} for the {ask.subject} {problem}.",
        remedy="Tell the registry's operator.",
    )
