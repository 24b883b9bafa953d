"""What an HTTP answer to a ranged read means. Pure functions over statuses and headers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from modeldist.errors import (
    AccessDenied,
    AuthenticationRequired,
    IntegrityError,
    ModeldistError,
    NotFound,
    OriginError,
    OriginProtocolError,
    OriginUnavailable,
    RateLimited,
)

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)", re.IGNORECASE)
_PASSING = frozenset({408, 429, 500, 502, 503, 504})
_CHANGED = "It may have changed; resolve the reference again."
_LASTING: dict[int, tuple[type[OriginError], str, str]] = {
    401: (AuthenticationRequired, "the origin wants credentials", ""),
    403: (AccessDenied, "the origin denies access", ""),
    404: (NotFound, "the origin does not have it", ""),
    410: (NotFound, "the origin has it no more", ""),
    501: (OriginProtocolError, "the origin does not do this", "Ask who runs the origin."),
    416: (OriginProtocolError, "the origin has fewer bytes than it announced", _CHANGED),
}
Header = Callable[[str], str]
"""Name -> value, empty when absent."""


@dataclass(frozen=True)
class Source:
    """Where one shard's bytes are read.

    `label` names it in messages. `size` is the shard's, in bytes. `headers` are bound to the URL's endpoint.
    `etag` and `last_modified`, when set, must be in every answer: they pin content that has no digest.
    `renewable`: the URL or its credentials age, so a 401 or 403 is a reason to locate the shard again.
    `remedies`: what to tell a user who got this status.
    """

    url: str
    label: str
    size: int
    headers: Mapping[str, str] = field(default_factory=dict)
    etag: str = ""
    last_modified: str = ""
    renewable: bool = False
    remedies: Mapping[int, str] = field(default_factory=dict)


class TryAgain(Exception):
    """A failure that may pass. `error` is what it becomes when it does not; `after` in seconds, if the origin said.
    `stranger`: no connection is to be had where nothing has answered yet, so the address may be mistyped."""

    def __init__(self, error: ModeldistError, after: float | None = None, *, stranger: bool = False) -> None:
        super().__init__(str(error))
        self.error = error
        self.after = after
        self.stranger = stranger


def refusal(status: int, header: Header, source: Source, now: Callable[[], datetime]) -> Exception:
    """What a status that is no success means: TryAgain where it may pass, else a ModeldistError."""
    if status in _PASSING:
        after = retry_after(header("Retry-After"), now)
        return TryAgain(_passing(status, source, after), after)
    return _lasting(status, source)


def _passing(status: int, source: Source, after: float | None) -> ModeldistError:
    if status == 429:
        remedy = source.remedies.get(status) or "Wait, or use credentials with a higher limit."
        return RateLimited(
            f"{source.label}: the origin asks for fewer requests (429).", remedy=remedy, retry_after=after
        )
    return OriginUnavailable(
        f"{source.label}: the origin answers {status}.", remedy="Try again later.", retry_after=after
    )


def _lasting(status: int, source: Source) -> ModeldistError:
    if status == 412:
        return changed(source)
    other = OriginUnavailable if status >= 500 else OriginProtocolError
    kind, what, remedy = _LASTING.get(
        status, (other, "the origin does not answer the read", "Ask who runs the origin.")
    )
    return kind(f"{source.label}: {what} ({status}).", remedy=source.remedies.get(status) or remedy)


def retry_after(value: str, now: Callable[[], datetime]) -> float | None:
    """Seconds from a Retry-After header (delta or date); None when absent or malformed."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    from email.utils import parsedate_to_datetime  # a large import for what hardly ever comes

    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now()).total_seconds())


def body_length(status: int, header: Header, source: Source, start: int, length: int) -> int:
    """How many bytes of [start, start+length) a 200 or 206 brings; they begin at `start`.

    A server that ignores ranges (200) is read only from the beginning: to skip bytes just to reach `start` would
    read them twice from the origin. Raises IntegrityError when the content is not the pinned one,
    OriginProtocolError when the answer does not fit the request.
    """
    check_pin(header, source)
    encoding = header("Content-Encoding").lower()
    if encoding not in ("", "identity"):
        raise _malformed(source, f"is sent with Content-Encoding {encoding!r} though identity was asked for")
    said = _content_length(header, source)
    if status == 200:
        if start > 0:
            raise OriginProtocolError(
                f"{source.label}: the origin ignores byte ranges.",
                remedy="Models are read in ranges; serve it from an origin that supports them.",
            )
        _check_total(source, said)
        return min(length, source.size)
    if status != 206:
        raise _malformed(source, f"is answered with {status}")
    found = _CONTENT_RANGE.fullmatch(header("Content-Range").strip())
    if found is None:
        raise _malformed(source, f"is answered with 206 but Content-Range {header('Content-Range')[:100]!r}")
    first, last = int(found[1]), int(found[2])
    if first != start or not start <= last < start + length:
        raise _malformed(source, f"bytes {start}-{start + length - 1} were asked for, {first}-{last} came")
    _check_total(source, None if found[3] == "*" else int(found[3]))
    if said is not None and said != last - first + 1:
        raise _malformed(source, f"has Content-Length {said} for bytes {first}-{last}")
    return last - first + 1


def check_pin(header: Header, source: Source) -> None:
    """Raise IntegrityError unless the answer carries the ETag or Last-Modified that pins the content."""
    if source.etag and header("ETag") != source.etag:
        raise changed(source)
    if source.last_modified and header("Last-Modified") != source.last_modified:
        raise changed(source)


def changed(source: Source) -> IntegrityError:
    return IntegrityError(
        f"{source.label}: changed at the origin while being read.", remedy="Pull it again to get the new content."
    )


def ended_early(source: Source, missing: int, why: str) -> OriginProtocolError:
    """`why`: how the body was lost."""
    return OriginProtocolError(
        f"{source.label}: the origin's answer ended {missing} bytes early ({why}).",
        remedy="The origin or a proxy before it cuts connections; what was read is kept for the next pull.",
    )


def _check_total(source: Source, total: int | None) -> None:
    if total is None or total == source.size:
        return
    if source.etag or source.last_modified:
        raise changed(source)
    raise OriginProtocolError(
        f"{source.label}: the origin has {total} bytes where {source.size} were announced.",
        remedy="The origin's copy is damaged; push or upload it again.",
    )


def _content_length(header: Header, source: Source) -> int | None:
    said = header("Content-Length").strip()
    if not said:
        return None
    if not (said.isascii() and said.isdigit()):
        raise _malformed(source, f"has Content-Length {said[:40]!r}")
    return int(said[:20])


def _malformed(source: Source, what: str) -> OriginProtocolError:
    return OriginProtocolError(f"{source.label}: {what}.", remedy="The origin or a proxy before it is faulty.")
