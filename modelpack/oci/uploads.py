"""Writing blobs: one PUT for small ones, chunks that resume for large ones, one long PUT where chunks are refused."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import httpx2

from modelpack.errors import (
    DigestMismatch,
    ModelPackError,
    RegistryError,
    RegistryNotFound,
    RegistryProtocolError,
)
from modelpack.oci.answers import error_codes, may_pass
from modelpack.oci.blob_sources import BlobSource
from modelpack.oci.connection import Ask, Body, Connection, Response, drain
from modelpack.oci.redirects import REDIRECTS

OnBytes = Callable[[int], None]
"""Told how many more bytes of the blob have been sent; bytes sent again after a failure are not counted twice."""

SMALL_CHUNK = 4 * 1024 * 1024  # bytes; GHCR takes no larger ones (rust-oci-client issue 35)
_CHUNK_REFUSED = (400, 404, 405, 413, 415, 416, 501)
_RANGE = re.compile(r"(?:bytes=)?0-([0-9]{1,19})")


@dataclass(frozen=True, slots=True)
class Place:
    """Where an upload session goes on. `reached`: bytes the registry has; `least`: the smallest chunk it takes."""

    url: str
    reached: int
    least: int = 0


class Record(Protocol):
    """Remembers where an upload goes on (`modelpack.oci.upload_records`); `keep` may raise UploadPaused."""

    def recall(self) -> str: ...

    def keep(self, url: str) -> None: ...

    def forget(self) -> None: ...


class UploadPaused(Exception):
    """The record wants no more; it knows where the upload goes on."""


class _ChunksRefused(Exception):
    """The registry takes no PATCH of this size, or none at all."""


@dataclass
class Upload:
    """One blob on its way. `ask` names the place of the uploads. `resumed`: bytes that an earlier process had sent."""

    connection: Connection
    ask: Ask
    source: BlobSource
    digest: str
    size: int
    chunk: int
    on_bytes: OnBytes | None = None
    record: Record | None = None
    resumed: int = 0
    _reported: int = 0

    async def run(self) -> None:
        """Raises RegistryError; DigestMismatch when the source is not what it was said to be; SourceFailed."""
        try:
            await self._run()
        except (RegistryError, DigestMismatch) as error:
            if not self.resumed or (isinstance(error, RegistryError) and may_pass(error)):
                raise
            self._forget()  # what was sent before may be to blame: once more, from the beginning
            self.resumed = 0
            await self._run()

    async def _run(self) -> None:
        for chunk in dict.fromkeys((self.chunk, min(self.chunk, SMALL_CHUNK))):
            if self.size <= chunk:
                break
            try:
                await self._chunked(chunk)
            except _ChunksRefused:
                continue
            return
        await self.connection.retry.run(self._whole, may_pass)

    async def _take_up(self) -> Place:
        """Where an earlier process left it, or a new session."""
        url = self.record.recall() if self.record else ""
        if not url:
            return await self.connection.retry.run(self._begin, may_pass)
        place = await self.connection.retry.run(partial(self._status, url), may_pass)
        self.resumed = place.reached
        self._report(place.reached)
        return place

    def _forget(self) -> None:
        if self.record:
            self.record.forget()

    async def _begin(self) -> Place:
        """Open a session. One that is given up later is an orphan, which the registry purges."""
        async with self.connection.open(self._asking("POST", self.ask.url, 202)) as response:
            place = await self._place(response, self.ask.url, 0)
            # docker-registry says "0-0" of an empty upload
            return Place(place.url, 0, _number(response.headers.get("OCI-Chunk-Min-Length", "")))

    async def _whole(self) -> None:
        place = await self._begin()
        await self._put(place.url, 0, self.size)

    async def _chunked(self, chunk: int) -> None:
        place = await self._take_up()
        chunk, furthest, failures = max(chunk, place.least), place.reached, 0
        while (before := place.reached) < self.size:
            try:
                place = await self._patch(place, min(chunk, self.size - before))
                if self.record:
                    self.record.keep(place.url)
                error: RegistryError = self._stuck(place.reached)
            except RegistryError as problem:
                if not may_pass(problem):
                    raise
                error = problem
                place = replace(place, reached=-1)  # unknown
            if place.reached > furthest:
                furthest, failures = place.reached, 0
            if place.reached > before:  # after a lost session, on ground covered before: no failure, no success
                continue
            failures += 1
            wait = self.connection.retry.wait(failures, error)
            if wait is None:
                raise error
            await self.connection.retry.sleep(wait)
            if place.reached < 0:
                place = await self.connection.retry.run(partial(self._status, place.url), may_pass)
        await self.connection.retry.run(partial(self._put, place.url, self.size, 0), may_pass)

    async def _patch(self, place: Place, length: int) -> Place:
        """Send one chunk; where the upload is then."""
        offset = place.reached
        headers = {"Content-Range": f"{offset}-{offset + length - 1}"}
        await self.source.prepare(offset, length)
        ask = self._asking("PATCH", place.url, 202, *_CHUNK_REFUSED, body=(offset, length), headers=headers)
        async with self.connection.open(ask) as response:
            status = response.status_code
            if status == 202:
                return await self._place(response, place.url, offset + length)
        if offset == 0:
            raise _ChunksRefused
        if status == 416:  # it holds another part of the blob than we thought
            return await self._status(place.url)
        raise RegistryProtocolError(
            f"{self.ask.subject.registry} answers {status} in the middle of {self.ask.subject}, at byte {offset}.",
            remedy="Push again.",
        )

    async def _status(self, url: str) -> Place:
        """Where an interrupted upload stands; a session that is lost is begun anew."""
        try:
            async with self.connection.open(self._asking("GET", url, 204)) as response:
                place = await self._place(response, url, 0)
        except (RegistryNotFound, RegistryProtocolError):
            return await self._begin()
        # "0-0" stands for an empty upload as well as for one byte; that byte can be sent again
        return place if place.reached > 1 else replace(place, reached=0)

    async def _put(self, url: str, offset: int, length: int) -> None:
        """Close the session with bytes [offset, offset+length), the rest or none, and the digest."""
        await self.source.prepare(offset, length)
        url = str(httpx2.URL(url).copy_merge_params({"digest": self.digest}))
        try:
            async with self.connection.open(self._asking("PUT", url, 201, 204, 400, body=(offset, length))) as response:
                codes = {code for code, _ in error_codes(await drain(response))}
                status = response.status_code
        except RegistryError:
            if not await self._arrived():  # large blobs take a registry long to commit: the answer may come too late
                raise
            status, codes = 201, set()
        if status == 400:
            raise self._refused(codes)
        self._report(self.size)

    async def _arrived(self) -> bool:
        place = self.ask.url.removesuffix("uploads/")
        ask = replace(self.ask, method="HEAD", url=f"{place}{self.digest}", expect=REDIRECTS | {200})
        try:
            async with self.connection.open(ask):
                return True
        except RegistryError:
            return False

    async def _place(self, response: Response, asked: str, reached: int) -> Place:
        """Where the session goes on: the Location, absolute or relative, must be one we may go to."""
        location = response.headers.get("Location", "")
        if not location:
            raise RegistryProtocolError(
                f"{self.ask.subject.registry} does not say where {self.ask.subject} continues.", remedy="Push again."
            )
        here = replace(self.ask, url=asked)
        url = self.connection.url(here)
        if url.join(location) != url:
            url = await self.connection.trail(here).hop(location)
        found = _RANGE.fullmatch(response.headers.get("Range", ""))
        return Place(str(url), min(int(found[1]) + 1, self.size) if found else reached)

    def _asking(
        self,
        method: str,
        url: str,
        *expect: int,
        body: tuple[int, int] = (0, 0),
        headers: Mapping[str, str] | None = None,
    ) -> Ask:
        """`body`: offset and length of the part of the source to send."""
        own = {} if method == "GET" else {"Content-Type": "application/octet-stream", "Content-Length": str(body[1])}
        return replace(
            self.ask,
            method=method,
            url=url,
            headers={**own, **(headers or {})},
            body=None if method == "GET" else self._body(*body),
            expect=frozenset(expect),
        )

    def _body(self, offset: int, length: int) -> Body:
        async def pieces() -> AsyncIterator[bytes]:
            at = offset
            async for piece in self.source.pieces(offset, length):
                at += len(piece)
                yield piece
                self._report(at)

        return pieces

    def _report(self, reached: int) -> None:
        if self.on_bytes and reached > self._reported:
            self.on_bytes(reached - self._reported)
        self._reported = max(self._reported, reached)

    def _stuck(self, at: int) -> RegistryProtocolError:
        return RegistryProtocolError(
            f"{self.ask.subject.registry} takes chunks of {self.ask.subject} and stays at byte {at}.",
            remedy="Push again; if it repeats, tell the registry's operator.",
        )

    def _refused(self, codes: set[str]) -> ModelPackError:
        thing = f"{self.ask.subject.registry} received {self.ask.subject}"
        if "DIGEST_INVALID" in codes:
            return DigestMismatch(
                f"{thing} and found another digest.",
                remedy="The source changed while it was pushed, or was damaged on the way: push again.",
            )
        return RegistryProtocolError(
            f"{thing} and refused it ({', '.join(sorted(codes)) or 'without a reason'}).", remedy="Push again."
        )


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0
