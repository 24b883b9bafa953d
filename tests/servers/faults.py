"""What can go wrong with one answer of a server, as values: `server.inject(unavailable(times=2), on="blobs")`.

A fault may replace the answer (`answer`), change its head (`claim_length`, `headers`) or disturb its body on the way
(`truncate_at`, `flip_byte`, `hold`, `rate`, `then_die`). Offsets count from the first body byte of that answer.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Hold:
    """Stops an answer after `after` body bytes: the test waits on `reached`, does its worst, and sets `resume`."""

    after: int = 0
    reached: threading.Event = field(default_factory=threading.Event)
    resume: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class Answer:
    """A whole answer in place of the real one."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


@dataclass(frozen=True)
class Fault:
    """`times` counts the requests it spoils; None means every one."""

    times: int | None = None
    answer: Answer | Callable[[str], Answer] | None = None  # a callable is given the request's path
    headers: tuple[tuple[str, str], ...] = ()  # replace those of the real answer
    claim_length: int | None = None  # added to the true Content-Length
    truncate_at: int | None = None  # close the connection after this many body bytes
    flip_byte: int | None = None  # invert the body byte at this offset
    hold: Hold | None = None
    rate: float | None = None  # body bytes per second
    lost: bool = False  # do what was asked, then close the connection without a word
    then_die: bool = False  # with truncate_at: the whole server goes away, not only the connection


def status(code: int, error: str = "", *, times: int | None = None, retry_after: str | None = None) -> Fault:
    """Answer `code`, with a registry error code in the body ("MANIFEST_UNKNOWN", "DENIED", …)."""
    raw = (
        json.dumps({"errors": [{"code": error, "message": error.lower().replace("_", " ")}]}).encode() if error else b""
    )
    headers = (("Retry-After", retry_after),) if retry_after is not None else ()
    return Fault(times, Answer(code, (("Content-Type", "application/json"), *headers), raw))


def unauthorized(challenge: str = 'Basic realm="tests"', *, times: int | None = None) -> Fault:
    return Fault(times, Answer(401, (("WWW-Authenticate", challenge),)))


def forbidden(*, times: int | None = None) -> Fault:
    return status(403, "DENIED", times=times)


def rate_limited(retry_after: str | None = "1", *, times: int | None = None) -> Fault:
    return status(429, "TOOMANYREQUESTS", times=times, retry_after=retry_after)


def unavailable(code: int = 503, *, times: int | None = None) -> Fault:
    return status(code, times=times)


def redirect(
    location: str, code: int = 307, *, times: int | None = None, headers: tuple[tuple[str, str], ...] = ()
) -> Fault:
    return Fault(times, Answer(code, (("Location", location), *headers)))


def redirect_loop() -> Fault:
    """Every answer sends the client back to where it was."""
    return Fault(None, lambda path: Answer(307, (("Location", path),)))


def truncated(after: int, *, times: int | None = 1) -> Fault:
    """Close the connection after `after` body bytes, with the full Content-Length promised."""
    return Fault(times, truncate_at=after)


def wrong_length(by: int, *, times: int | None = None) -> Fault:
    """Promise `by` bytes more (or fewer, when negative) than the body has, then close the connection."""
    return Fault(times, claim_length=by)


def corrupted(at: int = 0, *, times: int | None = None) -> Fault:
    """Invert one byte: the length is right and the digest wrong."""
    return Fault(times, flip_byte=at)


def held(hold: Hold, *, times: int | None = 1) -> Fault:
    return Fault(times, hold=hold)


def slow(bytes_per_second: float, *, times: int | None = None) -> Fault:
    return Fault(times, rate=bytes_per_second)


def lost_answer(*, times: int | None = 1) -> Fault:
    """The request is carried out and the connection closed before the answer."""
    return Fault(times, lost=True)


def dies(after: int) -> Fault:
    """The server goes away after `after` body bytes: this connection breaks and every later one is refused until
    `restart`."""
    return Fault(1, truncate_at=after, then_die=True)


def relabelled(content_type: str, *, times: int | None = None) -> Fault:
    return Fault(times, headers=(("Content-Type", content_type),))
