"""Ranged reads over HTTP: one request a range, retries for what is missing, every byte accounted for once.

    http = RangedHttp(dialer)
    http.read(locate, start, length, fd, offset, on_bytes)

`locate(renew)` gives the `Source`; it is asked again with True, once a read, when an aging source was refused.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from typing import TypeVar

from modeldist.errors import OriginProtocolError
from modeldist.explain.waits import met, waits_for
from modeldist.origins.base import OnBytes
from modeldist.origins.http_answers import Source, TryAgain, body_length, ended_early, refusal
from modeldist.origins.http_body import BodyLost
from modeldist.origins.http_dialing import Dialer
from modeldist.origins.http_session import Answer, HttpSession
from modeldist.origins.patience import KNOCKS, pause_before

Locate = Callable[[bool], Source]
_Found = TypeVar("_Found")
_PROGRESS = 1 << 20  # bytes of an attempt that make the next failure the first again
_LANDED_FOR = 240.0  # seconds a redirect's target is used directly; signed links live about 300
_SLEEP_SLICE = 0.25  # seconds between chances to stop while waiting
_REFUSED = frozenset({401, 403, 404, 410})


class RangedHttp:
    """Reads in the calling thread. Not thread-safe. `uniform()` gives [0, 1)."""

    def __init__(
        self,
        dialer: Dialer,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[], float] = random.random,
    ) -> None:
        self._settings = dialer.settings
        self._session = HttpSession(dialer)
        self._sleep = sleep
        self._clock = clock
        self._uniform = uniform
        self._landed: dict[str, tuple[str, Mapping[str, str], float]] = {}

    def read(self, locate: Locate, start: int, length: int, fd: int, offset: int, on_bytes: OnBytes) -> None:
        """See `RangeReader.read`."""
        read = _Read(locate, start, length, fd, offset)
        failures = 0
        while read.done < length:
            before = read.done
            try:
                for count in self._attempt(read):
                    read.done += count
                    on_bytes(count)
            except TryAgain as again:
                failures = 1 if read.done - before >= _PROGRESS else failures + 1
                self._wait(again, failures, on_bytes)

    def ahead(self, source: Source, start: int, length: int) -> None:
        """See `RangeReader.ahead`."""
        url, headers, _ = self._asking(source, start, length)
        self._session.ahead("GET", url, headers)

    def head(self, source: Source) -> Answer:
        """A HEAD with the same redirects, retries and errors; the caller closes the answer (there is no body)."""
        return self._patiently(lambda: self._success("HEAD", source, source.headers))

    def probe(self, source: Source) -> Answer:
        """A GET of the first byte, for origins that do not say whether they serve ranges."""
        return self._patiently(lambda: self._success("GET", source, {**source.headers, "Range": "bytes=0-0"}))

    def document(self, source: Source, at_most: int, read: Callable[[bytes], _Found]) -> _Found:
        """What `read` makes of the body of a GET, of at most so many bytes. It may raise TryAgain, too."""
        return self._patiently(lambda: read(self._text(source, at_most)))

    def close(self) -> None:
        self._session.close()

    def _patiently(self, ask: Callable[[], _Found]) -> _Found:
        failures, until = 0, self._clock() + self._settings.answer_patience
        while True:
            try:
                return ask()
            except TryAgain as again:
                failures += 1
                late = again.after is None and self._clock() >= until
                if late or (again.stranger and failures >= KNOCKS):
                    raise again.error from again
                self._wait(again, failures, lambda _: None)

    def _success(self, method: str, source: Source, headers: Mapping[str, str]) -> Answer:
        answer = self._session.request(method, source.url, headers)
        if answer.status in (200, 206):
            return answer
        with answer:
            raise refusal(answer.status, answer.header, source, _now)

    def _text(self, source: Source, at_most: int) -> bytes:
        with self._success("GET", source, source.headers) as answer:
            try:
                return answer.text(at_most)
            except OSError as error:
                raise TryAgain(
                    OriginProtocolError(
                        f"{source.label}: the origin's answer cannot be read ({error}).", remedy="Try again later."
                    )
                ) from error

    def _attempt(self, read: _Read) -> Generator[int]:
        """One request for what is missing; yields counts of bytes written."""
        source = read.source
        start, length = read.start + read.done, read.length - read.done
        with self._open(read, start, length) as answer:
            want = body_length(answer.status, answer.header, source, start, length)
            got = 0
            try:
                parts = answer.copy(want, read.fd, read.offset + read.done, self._session.buffer, self._clock)
                with closing(parts):
                    for count in parts:
                        got += count
                        yield count
            except BodyLost as lost:
                raise TryAgain(ended_early(source, want - got, str(lost))) from lost
            answer.close(reusable=answer.status == 206)
        if got < length:  # allowed, but a server that gives a byte a request must not keep us for ever
            raise TryAgain(ended_early(source, length - got, "a shorter range came"))

    def _open(self, read: _Read, start: int, length: int) -> Answer:
        while True:
            source = read.source
            url, sent, landed = self._asking(source, start, length)
            answer = self._session.request("GET", url, sent)
            if answer.status in (200, 206):
                if answer.url != source.url:
                    bare = {k: v for k, v in answer.headers.items() if k in source.headers}
                    self._landed.setdefault(source.url, (answer.url, bare, self._clock() + _LANDED_FOR))
                return answer
            with answer:
                error = refusal(answer.status, answer.header, source, _now)
            if answer.status in _REFUSED and landed:
                del self._landed[source.url]  # the link aged; ask the origin for a new one
            elif answer.status in (401, 403) and source.renewable and read.renew():
                continue
            else:
                raise error

    def _asking(self, source: Source, start: int, length: int) -> tuple[str, dict[str, str], bool]:
        """(URL, headers, whether that is where a redirect led) of a request for these bytes."""
        landed = self._landing(source)
        url, headers = landed or (source.url, source.headers)
        sent = {**headers, "Range": f"bytes={start}-{start + length - 1}", **_conditions(source)}
        return url, sent, landed is not None

    def _landing(self, source: Source) -> tuple[str, Mapping[str, str]] | None:
        url, headers, until = self._landed.get(source.url, ("", {}, 0.0))
        if url and self._clock() < until:
            return url, headers
        self._landed.pop(source.url, None)
        return None

    @waits_for("origin_pause")
    def _wait(self, again: TryAgain, failures: int, on_bytes: OnBytes) -> None:
        """Back off, or raise what the failure means when enough is enough."""
        pause = pause_before(failures, again.after, self._settings, self._uniform())
        if pause is None:
            raise again.error from again
        met(f"{again.error.code}: {again.error.message}")
        while pause > 0:
            on_bytes(0)  # a chance to stop
            self._sleep(min(pause, _SLEEP_SLICE))
            pause -= _SLEEP_SLICE


class _Read:
    """One call of `RangedHttp.read`: what is asked, how far it came, where it is read now."""

    def __init__(self, locate: Locate, start: int, length: int, fd: int, offset: int) -> None:
        self.start, self.length, self.fd, self.offset = start, length, fd, offset
        self.done = 0
        self._locate = locate
        self._renewed = False
        self._source: Source | None = None

    @property
    def source(self) -> Source:
        if self._source is None:
            self._source = self._locate(False)
        return self._source

    def renew(self) -> bool:
        """Locate the shard again; False when that was already done in this read."""
        if self._renewed:
            return False
        self._renewed = True
        self._source = self._locate(True)
        return True


def _conditions(source: Source) -> dict[str, str]:
    if source.etag:
        return {"If-Match": source.etag}
    return {"If-Unmodified-Since": source.last_modified} if source.last_modified else {}


def _now() -> datetime:
    return datetime.now(UTC)
