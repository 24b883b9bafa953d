"""Reading blobs: streamed with bounded memory, resumed after a broken connection, located for blocking readers."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from email.utils import parsedate_to_datetime

import httpx2

from modelpack.digests import digest_of, digest_problem
from modelpack.errors import DigestMismatch, RegistryError, RegistryProtocolError, SizeMismatch
from modelpack.manifest import MAX_SIZE, Descriptor
from modelpack.oci.answers import Subject, connection_error, may_pass
from modelpack.oci.connection import Ask, Connection, Response
from modelpack.oci.deadlines import TooSlow, moving, paced
from modelpack.oci.redirects import REDIRECTS, origin

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)")
_PARTIAL = frozenset({200, 206, 416})


@dataclass(frozen=True)
class BlobLocation:
    """Where ranged GETs of a blob go: the address and the headers to send along. Both are secret.

    `expires_in`: seconds until the address or its token is no longer taken, None when unknown. A GET may still be
    answered with a redirect (follow it with `redirects.Trail` and `redirects.headers_for`) or, once expired, with 401
    or 403 (locate the blob again).
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    expires_in: float | None = None

    def __repr__(self) -> str:
        return f"BlobLocation({self.url.partition('?')[0]}, expires_in={self.expires_in})"


async def get(connection: Connection, ask: Ask, descriptor: Descriptor, max_size: int) -> bytes:
    """See `RegistryClient.get_blob`."""
    if descriptor.size > max_size:
        raise SizeMismatch(
            f"The {ask.subject} has {descriptor.size} bytes; at most {max_size} are read.",
            remedy="Nothing was fetched. An artifact like this is damaged or hostile.",
        )
    if problem := digest_problem(descriptor.digest):
        raise DigestMismatch(f"The {ask.subject} cannot be verified: {problem}.", remedy="Nothing was fetched.")
    data = bytearray()
    try:
        whole = stream(connection, ask, 0, None, descriptor.size)
        async for piece in paced(whole, ask.subject.registry, connection.retry.total):
            data += piece
    except TooSlow as error:
        raise connection_error(error, ask.subject) from error
    actual = digest_of(bytes(data), descriptor.digest)
    if actual != descriptor.digest:
        raise DigestMismatch(
            f"The {ask.subject} has the digest {actual} as served by {ask.subject.registry}.",
            remedy="Nothing of it was used. Pull again; if it repeats, do not trust this registry.",
        )
    return bytes(data)


async def size(connection: Connection, ask: Ask) -> int:
    """See `RegistryClient.blob_size`. An address it is redirected to may have been made for GET alone."""
    answer = await connection.peek(replace(ask, method="HEAD", expect=REDIRECTS | {200}))
    if answer.status_code != 200:
        answer = await connection.peek(replace(ask, headers={"Range": "bytes=0-0"}, expect=_PARTIAL))
    told = answer.headers.get("Content-Length" if answer.status_code == 200 else "Content-Range", "").rpartition("/")[2]
    if not (told.isascii() and told.isdigit()) or int(told) > MAX_SIZE:
        raise RegistryProtocolError(
            f"{ask.subject.registry} does not say how many bytes the {ask.subject} has.",
            remedy="Tell the registry's operator; a proxy before it may be to blame.",
        )
    return int(told)


async def stream(
    connection: Connection, ask: Ask, start: int, length: int | None, size: int | None
) -> AsyncGenerator[bytes, None]:
    """Bytes [start, start+length) of the blob, in pieces. See `RegistryClient.stream_blob`."""
    part = _Part(start, size if length is None else start + length, size)
    failures = 0
    while not part.complete():
        began = part.position
        try:
            async with connection.open(replace(ask, headers=part.headers(), expect=_PARTIAL)) as response:
                skip = part.begin(response, ask.subject)
                async for piece in moving(response.aiter_raw(), ask.subject.registry):
                    useful, skip = part.cut(piece, skip)
                    if useful:
                        yield useful
                    if part.complete():
                        break
                part.finish(ask.subject)
                return
        except RegistryError as error:
            moved = part.position > began and not isinstance(error.__cause__, TooSlow)
            failures = 1 if moved else failures + 1
            wait = connection.retry.wait(failures, error) if may_pass(error) else None
            if wait is None:
                raise
        await connection.retry.sleep(wait)


@dataclass
class _Part:
    """How far one ranged read is. `end` and `size` are None until known."""

    position: int
    end: int | None
    size: int | None

    def complete(self) -> bool:
        return self.end is not None and self.position >= self.end

    def headers(self) -> dict[str, str]:
        if self.position == 0 and (self.end is None or self.end == self.size):
            return {}
        return {"Range": f"bytes={self.position}-{'' if self.end is None else self.end - 1}"}

    def begin(self, response: Response, subject: Subject) -> int:
        """Check the head of an answer; how many bytes of its body come before `position`."""
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if response.status_code == 416:  # its body is not read: docker-registry gives it the length of the blob
            raise RegistryProtocolError(
                f"{subject.registry} has no byte {self.position} of {subject}.",
                remedy="It holds less than it said: ask the publisher to push the artifact again.",
            )
        if response.status_code == 206:
            if not found or int(found[1]) != self.position:
                raise RegistryProtocolError(
                    f"{subject.registry} answers with another range of {subject} than asked for.",
                    remedy="Tell the registry's operator; a proxy before it may be to blame.",
                )
            total, skip = found[3], 0
        else:
            told = "*" if "Transfer-Encoding" in response.headers else response.headers.get("Content-Length", "*")
            total, skip = told, self.position
        if total.isdigit():
            if self.size is not None and int(total) != self.size:
                raise RegistryProtocolError(
                    f"{subject.registry} answers with {total} bytes for {subject}, which has {self.size}.",
                    remedy="Ask the publisher to push the artifact again; nothing of it was used.",
                )
            self.size = int(total)
            self.end = self.size if self.end is None else self.end
        return skip

    def cut(self, piece: bytes, skip: int) -> tuple[bytes, int]:
        """The part of `piece` that was asked for, and how much is still to skip."""
        useful = piece[skip:]
        if self.end is not None:
            useful = useful[: self.end - self.position]
        self.position += len(useful)
        return useful, max(0, skip - len(piece))

    def finish(self, subject: Subject) -> None:
        """A body that ended in good order must have been all of it."""
        if self.end is not None and self.position < self.end:
            short = httpx2.RemoteProtocolError(f"the body ended {self.end - self.position} bytes early")
            raise connection_error(short, subject) from short


async def locate(connection: Connection, ask: Ask, now: Callable[[], float] = time.time) -> BlobLocation:
    """See `RegistryClient.locate_blob`.

    HEAD first: a registry that serves the blob itself then sends no body. Where HEAD is redirected, its target is good
    for HEAD alone (presigned addresses are signed for one method), so a GET asks for the address again; its answer
    is a redirect too, and no body is read from it.
    """
    url, trail = connection.url(ask), None
    while True:
        step = replace(ask, url=str(url), expect=REDIRECTS | {200})
        answer = await connection.peek(replace(step, method="HEAD"))
        url = answer.url  # whose scheme may have turned out only now
        trail = trail or connection.trail(ask)
        if answer.status_code != 200:
            answer = await connection.peek(replace(step, method="GET"))
        if answer.status_code == 200:
            grant = await connection.authorization(ask)
            headers = {"Authorization": grant.header} if grant else {}
            return BlobLocation(str(url), headers, connection.auth.expires_in(grant) if grant else None)
        target = await trail.follow(answer)
        if origin(target) != origin(url):
            return BlobLocation(str(target), {}, presigned_life(target, now))
        url = target


def presigned_life(url: httpx2.URL, now: Callable[[], float] = time.time) -> float | None:
    """Seconds a presigned address still lives, as its query says: S3 and its like, Google, Azure, CloudFront."""
    query = {name.lower(): value for name, value in url.params.multi_items()}
    try:
        for maker in ("x-amz", "x-goog"):
            if f"{maker}-expires" in query:
                signed = datetime.strptime(query[f"{maker}-date"] + "+0000", "%Y%m%dT%H%M%SZ%z")
                return max(0.0, signed.timestamp() + float(query[f"{maker}-expires"]) - now())
        if "se" in query and "sig" in query:
            return max(0.0, datetime.fromisoformat(query["se"]).timestamp() - now())
        if "expires" in query:
            text = query["expires"]
            at = float(text) if text.isdigit() else parsedate_to_datetime(text).timestamp()
            return max(0.0, at - now())
    except (KeyError, ValueError, OverflowError):  # also a year of twenty digits
        return None
    return None
