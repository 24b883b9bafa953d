"""Listings of a registry, page by page, and the one of a repository's tags."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace

import httpx2
import msgspec

from modelpack.errors import RegistryProtocolError
from modelpack.oci.answers import Subject
from modelpack.oci.connection import Ask, Connection, Response
from modelpack.oci.redirects import origin
from modelpack.reference import Reference

_MAX_PAGES = 10_000
_MAX_PAGE = 16 * 1024 * 1024  # bytes
_MAX_LINK = 8 * 1024  # characters of a Link header; looking for the end of a link takes time that grows with its square
_NEXT = re.compile(r'<([^<>]*)>[^,<]*;\s*rel\s*=\s*"?next"?', re.IGNORECASE)


class TagPage(msgspec.Struct):
    tags: list[str] | None = None


async def tags(connection: Connection, ref: Reference) -> list[str]:
    """See `RegistryClient.list_tags`."""
    ask = listing(ref, f"/v2/{ref.repository}/tags/list?n=1000", Subject(ref, "tags"))
    found: dict[str, None] = {}
    async for _, body in pages(connection, ask, _MAX_PAGE):
        try:
            page = msgspec.json.decode(body, type=TagPage)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise malformed(ask, "is no list of tags") from None
        found |= dict.fromkeys(page.tags or ())
    return list(found)


async def pages(connection: Connection, ask: Ask, limit: int) -> AsyncIterator[tuple[Response, bytes]]:
    """Every page of a listing, by its Link headers, which may not lead to another server."""
    seen = set()
    for _ in range(_MAX_PAGES):
        response, body = await connection.fetch(ask, limit=limit)
        yield response, body
        url = connection.url(ask)
        seen.add(url)
        following = _NEXT.search(response.headers.get("Link", "")[:_MAX_LINK])
        if not following:
            return
        try:
            target = url.join(following[1])
        except (httpx2.InvalidURL, ValueError):
            raise malformed(ask, "goes on at something that is no URL") from None
        if origin(target) != origin(url) or target in seen:
            raise malformed(ask, "goes on where it must not")
        ask = replace(ask, url=str(target))
    raise malformed(ask, f"has more than {_MAX_PAGES} pages")


def listing(ref: Reference, url: str, subject: Subject) -> Ask:
    """The request for a listing's first page."""
    return Ask("GET", url, subject, (f"repository:{ref.repository}:pull",))


def malformed(ask: Ask, problem: str) -> RegistryProtocolError:
    """An answer that is no listing."""
    return RegistryProtocolError(
        f"The answer of {ask.subject.registry} for the {ask.subject} {problem}.",
        remedy="Tell the registry's operator.",
    )
