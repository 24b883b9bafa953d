"""Requests in the calling thread over kept-alive connections, with redirects followed by hand. One thread each."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Generator, Mapping
from types import TracebackType
from typing import NamedTuple, Self
from urllib.parse import quote, urlsplit

from modeldist.errors import OriginProtocolError, OriginUnavailable
from modeldist.origins.http_answers import TryAgain
from modeldist.origins.http_body import BUFFER_SIZE, copy_body
from modeldist.origins.http_dialing import Connection, Dialer, StrangerRefuses, WillNotPass
from modeldist.origins.http_redirects import (
    MAX_REDIRECTS,
    REDIRECT_STATUSES,
    Endpoint,
    leads_to,
    next_hop,
)
from modeldist.origins.prompt_response import PromptResponse
from modelpack.oci.addresses import Zone

_IDLE_CONNECTIONS = 4  # a registry, its token service and a CDN or two
_URL_SAFE = "%/:=&?~#+!$,;'@()*[]"
_LINE = re.compile(r"[\t -~\x80-\xff]+")
USER_AGENT = "modeldist"


class _Request(NamedTuple):
    method: str
    url: str
    headers: Mapping[str, str]


class _Asked(NamedTuple):
    """A request whose answer comes by this connection."""

    request: _Request
    connection: Connection


class Answer:
    """A response whose body has not been read. `close()` says whether the connection may serve again.

    `url` is where the answer came from after redirects, `headers` what was sent there.
    """

    def __init__(
        self,
        response: PromptResponse,
        connection: Connection,
        url: str,
        headers: Mapping[str, str],
        release: Callable[[Connection, bool], None],
    ) -> None:
        self.status = response.status
        self.url = url
        self.headers = headers
        self.zone = connection.zone
        self._response = response
        self._connection = connection
        self._release: Callable[[Connection, bool], None] | None = release

    def header(self, name: str) -> str:
        """Its value, empty when absent."""
        return self._response.header(name)

    def copy(self, want: int, fd: int, offset: int, buffer: memoryview, clock: Callable[[], float]) -> Generator[int]:
        """See `copy_body`."""
        there = self._connection
        return copy_body(
            self._response, there.sock, want, fd, offset, buffer=buffer, splicing=there.splicing, clock=clock
        )

    def text(self, at_most: int) -> bytes:
        """The body. Raises OSError when it breaks or is longer."""
        body = self._response.read(at_most + 1)
        if len(body) > at_most:
            raise OSError(f"more than {at_most} bytes")
        return body

    def close(self, *, reusable: bool = False) -> None:
        """Give the connection back; `reusable` only when the whole body was read."""
        if self._release is not None:
            keep = reusable and not self._response.will_close and not self._response.chunked
            self._release(self._connection, keep)
            self._release = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self.close()


class HttpSession:
    """Keeps connections by endpoint. Errors: TryAgain where trying again may help, else OriginError subclasses."""

    def __init__(self, dialer: Dialer) -> None:
        self._dialer = dialer
        self._idle: dict[tuple[Endpoint, Zone | None], Connection] = {}
        self._ahead: deque[_Asked] = deque()
        self.buffer = memoryview(bytearray(BUFFER_SIZE))

    def request(self, method: str, url: str, headers: Mapping[str, str], *, follow: bool = True) -> Answer:
        """Send it and follow up to five redirects, or none. The caller closes the answer."""
        sent = _complete(headers)
        allowed: frozenset[Zone] | None = None
        seen = {url}
        for _ in range(MAX_REDIRECTS + 1):
            answer = self._once(method, url, sent, allowed)
            if answer.status not in REDIRECT_STATUSES or not follow:
                return answer
            answer.close(reusable=answer.header("Content-Length") == "0" or method == "HEAD")
            url, sent = next_hop(url, answer.header("Location"), sent)
            allowed = leads_to(answer.zone, private_allowed=self._dialer.settings.private_redirects)
            if url in seen:
                raise OriginProtocolError(
                    f"{Endpoint.of(url).authority}: the origin redirects in a loop.",
                    remedy="Ask who runs the origin, or check the proxy.",
                )
            seen.add(url)
        raise OriginProtocolError(
            f"{Endpoint.of(url).authority}: the origin redirects more than {MAX_REDIRECTS} times.",
            remedy="Ask who runs the origin.",
        )

    def ahead(self, method: str, url: str, headers: Mapping[str, str]) -> None:
        """This request comes after the next one: send it now, on a connection of its own, so that the origin answers
        meanwhile. Where it cannot be sent, or its connection breaks, it is sent when it comes."""
        while len(self._ahead) > 1:
            self._ahead.popleft().connection.close()  # it never came
        asked = _Request(method, url, _complete(headers))
        endpoint = Endpoint.of(url)
        try:
            connection = self._take(endpoint, None)
        except TryAgain:
            return
        try:
            _send(connection, endpoint, asked)
        except OSError:
            connection.close()
        except BaseException:
            connection.close()
            raise
        else:
            self._ahead.append(_Asked(asked, connection))

    def close(self) -> None:
        for connection in (*self._idle.values(), *(asked.connection for asked in self._ahead)):
            connection.close()
        self._idle.clear()
        self._ahead.clear()

    def _asked_already(self, request: _Request) -> Connection | None:
        """The connection that its answer comes by."""
        found = next((asked for asked in self._ahead if asked.request == request), None)
        if found is None:
            return None
        self._ahead.remove(found)
        return found.connection

    def _once(self, method: str, url: str, headers: Mapping[str, str], allowed: frozenset[Zone] | None) -> Answer:
        endpoint = Endpoint.of(url)
        request = _Request(method, url, headers)
        asked = self._asked_already(request)
        connection = asked or self._take(endpoint, allowed)
        while True:
            try:
                if connection is not asked:
                    _send(connection, endpoint, request)
                response = PromptResponse(connection.sock, method)
                break
            except OSError as error:
                again = connection.used or connection is asked
                connection.close()
                # The origin may close an idle connection at any moment; that is no failure of the request.
                if again and not isinstance(error, TimeoutError):
                    connection = self._dial(endpoint, allowed)
                    continue
                raise _broken(endpoint, error) from error
        connection.used = True
        return Answer(response, connection, url, headers, lambda conn, keep: self._put(endpoint, conn, keep))

    def _take(self, endpoint: Endpoint, allowed: frozenset[Zone] | None) -> Connection:
        for key, connection in list(self._idle.items()):
            if key[0] == endpoint and (allowed is None or connection.zone in allowed):
                return self._idle.pop(key)
        return self._dial(endpoint, allowed)

    def _dial(self, endpoint: Endpoint, allowed: frozenset[Zone] | None) -> Connection:
        try:
            return self._dialer.dial(endpoint, allowed)
        except WillNotPass:
            raise
        except OriginUnavailable as error:
            raise TryAgain(error, stranger=isinstance(error, StrangerRefuses)) from error

    def _put(self, endpoint: Endpoint, connection: Connection, keep: bool) -> None:
        if not keep:
            connection.close()
            return
        if len(self._idle) >= _IDLE_CONNECTIONS:
            self._idle.pop(next(iter(self._idle))).close()
        key = (endpoint, connection.zone)
        if previous := self._idle.pop(key, None):
            previous.close()
        self._idle[key] = connection


def _complete(headers: Mapping[str, str]) -> Mapping[str, str]:
    return {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers}


def _send(connection: Connection, endpoint: Endpoint, request: _Request) -> None:
    split = urlsplit(request.url)
    path = quote(split.path or "/", safe=_URL_SAFE) + (f"?{quote(split.query, safe=_URL_SAFE)}" if split.query else "")
    sent = {"Host": endpoint.authority, **connection.proxy_headers, **request.headers}
    first = f"{request.method} {connection.prefix}{path} HTTP/1.1"
    lines = [first, *(f"{name}: {value}" for name, value in sent.items())]
    if not all(map(_LINE.fullmatch, lines)):
        raise OriginProtocolError(
            f"{endpoint.authority}: a header of the request would have characters that no header may have.",
            remedy="Check the token and the proxy settings for line breaks.",
        )
    connection.sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))


def _broken(endpoint: Endpoint, error: Exception) -> TryAgain:
    why = "no answer in time" if isinstance(error, TimeoutError) else (str(error) or type(error).__name__)
    return TryAgain(
        OriginUnavailable(
            f"{endpoint.authority}: the connection broke before an answer ({why}).", remedy="Try again later."
        )
    )
