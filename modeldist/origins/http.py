"""One file by URL: `https://host/path/model.safetensors`, optionally with `#sha256=<64 hex>`.

Plain HTTP is for loopback and for hosts the settings allow (`plain_http`). Without a digest in the reference the
content is pinned by its strong ETag, else by Last-Modified; the pin travels in the file's locator (`<url>#etag=…`).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import PurePosixPath
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from modeldist.artifact import Artifact, ArtifactFile, Digest
from modeldist.errors import AccessDenied, InvalidReference, OriginProtocolError, Unsupported
from modeldist.origins import repo_ids
from modeldist.origins.base import OnBytes, RangeReader
from modeldist.origins.http_answers import Source
from modeldist.origins.http_dialing import Dialer
from modeldist.origins.http_redirects import Endpoint
from modeldist.origins.identity import etag_digest, list_digest, revision_of
from modeldist.origins.ranged_http import RangedHttp
from modeldist.origins.safe_names import check_paths
from modeldist.origins.settings import OriginSettings
from modelpack.filekinds import kind_of
from modelpack.oci.addresses import is_loopback

_HUB_PAGE = re.compile(r"(huggingface|hf)\.co/(?P<repo>[^/]+/[^/]+?)/?(/tree/(?P<revision>[^/]+)/?)?")
_DIGEST = re.compile(r"sha256=([0-9a-fA-F]{64})")
_NO_CREDENTIALS = "This origin kind sends no credentials; use a link that needs none."
_REMEDIES = {401: _NO_CREDENTIALS, 403: _NO_CREDENTIALS, 404: "Check the URL."}
_NO_DIGEST = "The origin publishes no digest, so what it sends is taken on trust; add #sha256=<hex> to the reference."


class HttpOrigin:
    """See `modeldist.origins.base.Origin`."""

    def __init__(self, settings: OriginSettings, dialer: Dialer) -> None:
        self._settings = settings
        self._dialer = dialer

    def matches(self, reference: str) -> bool:
        return reference.partition("://")[0].lower() in ("http", "https")

    def canonical(self, reference: str) -> str:
        """Scheme and host in lower case, no default port; the digest in lower case."""
        url, digest = self._parse(reference)
        return f"{url}#sha256={digest}" if digest else url

    async def resolve(self, reference: str) -> Artifact:
        url, digest = self._parse(reference)
        source = await asyncio.to_thread(self._examine, url)
        if digest:
            shard = Digest(f"sha256:{digest}")
            source = replace(source, etag="", last_modified="")
        elif source.etag or source.last_modified:
            shard = etag_digest("http", url, source.size, source.etag or source.last_modified)
        else:
            raise Unsupported(
                f"{url}: the origin sends neither a strong ETag nor Last-Modified, so its content cannot be pinned.",
                remedy="Add #sha256=<hex digest of the file> to the reference.",
            )
        return _artifact(url, shard, source)

    async def still(self, artifact: Artifact, reference: str) -> bool:
        url, digest = self._parse(reference)
        if digest:
            return artifact.files[0].digest == f"sha256:{digest}"
        source = await asyncio.to_thread(self._examine, url)
        return artifact.files[0].digest == etag_digest("http", url, source.size, source.etag or source.last_modified)

    def reader(self, artifact: Artifact) -> RangeReader:
        def locate(shard: Digest) -> Source:
            file = artifact.file_of(shard)
            source = _source_of(file)
            self._check_plain(source.url)
            return source

        return HttpReader(RangedHttp(self._dialer), locate)

    async def close(self) -> None:
        """Nothing is kept between calls."""

    def _parse(self, reference: str) -> tuple[str, str]:
        """(URL without fragment, sha256 hex or ""). Raises InvalidReference."""
        try:
            endpoint = Endpoint.of(reference.partition("#")[0])
        except OriginProtocolError as error:
            raise InvalidReference(error.message, remedy="Write https://host/path/file.") from None
        split = urlsplit(reference)
        if page := _HUB_PAGE.fullmatch(f"{endpoint.host}{split.path}"):
            raise InvalidReference(
                f"{reference[:200]!r} is a page of Hugging Face, not a file.",
                remedy=f"Write hf://{page['repo']}{'@' + page['revision'] if page['revision'] else ''}.",
            )
        if not PurePosixPath(unquote(split.path)).name or split.path.endswith("/"):
            raise InvalidReference(
                f"{reference[:200]!r} names no file.", remedy="Write the URL of one file: https://host/path/file."
            )
        digest = _DIGEST.fullmatch(split.fragment)
        if split.fragment and digest is None:
            raise InvalidReference(
                f"{reference[:200]!r}: the part after # is no digest.", remedy="Write #sha256=<64 hex digits>."
            )
        url = urlunsplit((endpoint.scheme, endpoint.authority, split.path, split.query, ""))
        self._check_plain(url)
        return url, digest[1].lower() if digest else ""

    def _check_plain(self, url: str) -> None:
        endpoint = Endpoint.of(url)
        if endpoint.scheme == "https" or is_loopback(endpoint.host):
            return
        if self._settings.plain_http.isdisjoint((endpoint.host, endpoint.authority)):
            raise InvalidReference(
                f"{url}: plain HTTP is refused for {endpoint.host}.",
                remedy=f"Use https, or allow it with --plain-http {endpoint.authority}.",
            )

    def _examine(self, url: str) -> Source:
        """Size and pin, by HEAD; by a GET of one byte where HEAD does not tell enough."""
        source = Source(url, _label(url), 0, remedies=_REMEDIES)
        http = RangedHttp(self._dialer)
        try:
            found = _from_head(http, source)
            return found or _from_probe(http, source)
        finally:
            http.close()


class HttpReader:
    """Reads shards that are found at one URL each."""

    def __init__(self, http: RangedHttp, source_of: Callable[[Digest], Source]) -> None:
        self._http = http
        self._source_of = source_of

    def read(self, shard: Digest, start: int, length: int, fd: int, offset: int, on_bytes: OnBytes) -> None:
        source = self._source_of(shard)
        self._http.read(lambda _: source, start, length, fd, offset, on_bytes)

    def ahead(self, shard: Digest, start: int, length: int) -> None:
        self._http.ahead(self._source_of(shard), start, length)

    def close(self) -> None:
        self._http.close()


def _from_head(http: RangedHttp, source: Source) -> Source | None:
    try:
        answer = http.head(source)
    except (OriginProtocolError, AccessDenied):
        return None  # some servers refuse HEAD, and presigned links are for GET alone
    with answer:
        length = answer.header("Content-Length")
        ranges = answer.header("Accept-Ranges").lower() == "bytes" or length == "0"
        if not ranges or not (length.isascii() and length.isdigit()):
            return None
        return _pinned(source, int(length), answer.header("ETag"), answer.header("Last-Modified"))


def _from_probe(http: RangedHttp, source: Source) -> Source:
    with http.probe(source) as answer:
        total = answer.header("Content-Range").rpartition("/")[2]
        if answer.status != 206 or not (total.isascii() and total.isdigit()):
            raise Unsupported(
                f"{source.url}: the origin does not serve byte ranges.",
                remedy="Serve the file from a server that does (nginx, Apache, Caddy, an object store).",
            )
        return _pinned(source, int(total), answer.header("ETag"), answer.header("Last-Modified"))


def _pinned(source: Source, size: int, etag: str, last_modified: str) -> Source:
    strong = etag if etag.startswith('"') else ""
    return replace(source, size=size, etag=strong, last_modified="" if strong else last_modified)


def _artifact(url: str, shard: Digest, source: Source) -> Artifact:
    endpoint, split = Endpoint.of(url), urlsplit(url)
    path = PurePosixPath(unquote(split.path)).name
    check_paths([path], url)
    known = shard.startswith("sha256:")
    pin = ("etag", source.etag) if source.etag else ("last-modified", source.last_modified)
    locator = url if known else f"{url}#{pin[0]}={quote(pin[1], safe='')}"
    files = (ArtifactFile(path, shard, source.size, kind_of(path, source.size), locator=locator),)
    digest = list_digest(url, shard, files)
    return Artifact(
        reference=f"{url}#{shard.replace(':', '=')}" if known else url,
        name=url,
        tag="" if known else "main",
        digest=digest,
        revision=revision_of(digest),
        repo_id=repo_ids.of_place(endpoint.authority, PurePosixPath(path).stem, url),
        origin="http",
        endpoint=f"{endpoint.scheme}://{endpoint.authority}",
        repository=split.path,
        files=files,
        warnings=() if known else (_NO_DIGEST,),
    )


def _source_of(file: ArtifactFile) -> Source:
    url, _, fragment = file.locator.partition("#")
    kind, _, value = fragment.partition("=")
    source = Source(url, _label(url), file.size, remedies=_REMEDIES)
    if kind == "etag":
        return replace(source, etag=unquote(value))
    return replace(source, last_modified=unquote(value)) if kind == "last-modified" else source


def _label(url: str) -> str:
    """For messages: without the query, which may be a signature."""
    return url.partition("?")[0]
