"""One request to a registry, with everything around it: credentials, redirects, retries, errors in words."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx2

from modelpack.errors import InvalidReference, ModelPackError, RegistryProtocolError, RegistryUnavailable
from modelpack.oci.addresses import Resolve, host_of, is_loopback
from modelpack.oci.answers import (
    MAX_ERROR_BODY,
    TRANSIENT_STATUS,
    Subject,
    connection_error,
    error_for,
    is_refusal,
    may_pass,
)
from modelpack.oci.auth import Authenticator, Grant, Scopes
from modelpack.oci.challenge import parse_challenges
from modelpack.oci.credentials import Credentials
from modelpack.oci.deadlines import ANSWER, head_of, paced
from modelpack.oci.loopback_tls import speaks_tls
from modelpack.oci.redirects import REDIRECTS, Trail, headers_for, origin
from modelpack.oci.retry import RetryPolicy

PlainHttp = Collection[str] | Callable[[str], bool]
Body = Callable[[], AsyncIterator[bytes]]
"""Makes the body anew for each time it is sent; its length is in the request's Content-Length."""
Response = httpx2.Response

_KNOCKS = 3  # attempts at an address where nothing listens and nothing ever answered: it may be mistyped
_NO_HTTP = (httpx2.RemoteProtocolError, httpx2.ReadError)  # what a server does that expects TLS
_DRAIN = 5.0  # seconds for the small body of an answer that is of little use
_HUB_HOST = "registry-1.docker.io"


@dataclass(frozen=True, slots=True)
class Ask:
    """One request. `url` is absolute or a path of the registry; `expect` are the statuses that are success."""

    method: str
    url: str
    subject: Subject
    scopes: Scopes
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = None
    expect: frozenset[int] = frozenset({200})


class Connection:
    """Speaks to any number of registries over one pool of connections."""

    def __init__(
        self,
        *,
        credentials: Credentials | None,
        plain_http: PlainHttp,
        user_agent: str,
        timeout: httpx2.Timeout,
        retry: RetryPolicy,
        resolve: Resolve,
        verify: ssl.SSLContext | bool,
        answer: float = ANSWER,
    ) -> None:
        self.retry = retry
        self._answer = answer
        self.resolve = resolve
        self._plain_http = plain_http
        self._found_tls: set[str] = set()  # registries on loopback
        self._met: set[str] = set()  # registries that have answered
        self.auth = Authenticator(credentials, self._fetch_token, resolve)
        try:
            self._http = httpx2.AsyncClient(
                verify=verify,
                timeout=timeout,
                # identity: digests and ranges are of the bytes as stored
                headers={"User-Agent": user_agent, "Accept-Encoding": "identity"},
                # cookies know no ports and no registry needs them: none is kept, so none can reach a stranger
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
                follow_redirects=False,
            )
        except (httpx2.InvalidURL, ValueError, ImportError) as error:  # from the environment; SOCKS needs a package
            raise RegistryUnavailable(
                f"The proxy that the environment names cannot be used: {str(error).rstrip('.')}.",
                remedy="Set HTTPS_PROXY, HTTP_PROXY and ALL_PROXY to http://host:port, or unset them.",
            ) from error

    async def close(self) -> None:
        await self._http.aclose()

    def base(self, registry: str) -> httpx2.URL:
        """Where the registry is spoken to: https, but plain http where the user listed it, and on loopback until it
        turns out to speak TLS."""
        plain = self._is_listed(registry) or (is_loopback(host_of(registry)) and registry not in self._found_tls)
        url = httpx2.URL(f"http{'' if plain else 's'}://{_HUB_HOST if registry == 'docker.io' else registry}")
        try:
            _ = url.host  # the client asks for it, and of punycode that means nothing it raises
        except UnicodeError:
            raise InvalidReference(
                f"{registry[:80]!r} is not a registry's host name: its punycode (xn--) means nothing.",
                remedy="Check the registry's name.",
            ) from None
        return url

    def _is_listed(self, registry: str) -> bool:
        return self._plain_http(registry) if callable(self._plain_http) else registry in self._plain_http

    def url(self, ask: Ask) -> httpx2.URL:
        return self.base(ask.subject.registry).join(ask.url)

    def trail(self, ask: Ask) -> Trail:
        return Trail(self.url(ask), str(ask.subject), self.resolve)

    @contextlib.asynccontextmanager
    async def open(self, ask: Ask) -> AsyncIterator[Response]:
        """One attempt: answers one 401, follows redirects, and yields the answer with its body unread.

        Raises a RegistryError for every other answer and for a connection that breaks, here or while the body is
        read inside the block.
        """
        try:
            async with self._final(ask) as response:
                yield response
        except httpx2.TransportError as error:
            self._found_tls.discard(ask.subject.registry)  # it may come back without
            raise connection_error(error, ask.subject) from error

    async def fetch(self, ask: Ask, *, limit: int = 0) -> tuple[Response, bytes]:
        """The answer and its body of at most `limit` bytes, with retries: for idempotent requests only."""

        async def once() -> tuple[Response, bytes]:
            async with self.open(ask) as response:
                return response, await self._read(response, limit, ask.subject, ask.subject.registry)

        return await self.retry.run(once, self._may_pass(ask.subject.registry), within=self.retry.total)

    async def peek(self, ask: Ask) -> Response:
        """The registry's own answer, redirects included in what may be expected, its body never read."""

        async def once() -> Response:
            async with self.open(ask) as response:
                return response

        return await self.retry.run(once, self._may_pass(ask.subject.registry), within=self.retry.total)

    async def authorization(self, ask: Ask) -> Grant | None:
        """The grant that requests like this one are sent with, once one was answered."""
        return await self.auth.grant(self.base(ask.subject.registry), ask.subject, ask.scopes)

    def _may_pass(self, registry: str) -> Callable[[ModelPackError], bool]:
        """Judges the failures of one question. A registry that has answered and refuses now is restarting."""
        refusals = 0

        def judge(error: ModelPackError) -> bool:
            nonlocal refusals
            refusals += is_refusal(error)
            return may_pass(error) and (refusals < _KNOCKS or registry in self._met)

        return judge

    @contextlib.asynccontextmanager
    async def _final(self, ask: Ask) -> AsyncIterator[Response]:
        base, trail, url = self.base(ask.subject.registry), self.trail(ask), self.url(ask)
        headers, fresh = dict(ask.headers), None
        while True:
            home = origin(url) == origin(base)
            grant = (fresh or await self.auth.grant(base, ask.subject, ask.scopes)) if home else None
            if grant:
                headers["Authorization"] = grant.header
            request = self._http.build_request(
                ask.method, url, headers=headers, content=ask.body() if ask.body else None
            )
            try:
                response = await self._send(request, url.netloc.decode())
            except _NO_HTTP:
                if not (home and await self._turns_out_tls(ask, base)):
                    raise
                base, trail, url = self._again_by_tls(ask)
                continue
            try:
                self._met.add(ask.subject.registry)
                status = response.status_code
                if status in ask.expect:
                    yield response
                    if _is_bodiless(response) and not response.is_stream_consumed:
                        await drain(response)  # so that the connection can be used again
                    return
                if status == 401 and home and fresh is None:
                    await drain(response)
                    challenges = parse_challenges(response.headers.get_list("WWW-Authenticate"))
                    fresh = await self.auth.answer(base, ask.subject, ask.scopes, challenges, grant)
                elif status == 400 and home and await self._turns_out_tls(ask, base):
                    base, trail, url = self._again_by_tls(ask)
                elif status in REDIRECTS:
                    await drain(response)
                    target = await trail.follow(response)
                    headers, url = headers_for(url, target, headers), target
                else:
                    known = bool(grant and grant.with_credentials)
                    raise error_for(response, await drain(response), ask.subject, with_credentials=known)
            finally:
                await response.aclose()

    async def _turns_out_tls(self, ask: Ask, base: httpx2.URL) -> bool:
        """Whether a registry on loopback made nothing of our plain HTTP because it speaks TLS. Only then is there a
        connection more than needed."""
        registry = ask.subject.registry
        if base.scheme == "https" or self._is_listed(registry) or not is_loopback(base.host):
            return False
        if await speaks_tls(base.host, base.port or 80):
            self._found_tls.add(registry)
        return registry in self._found_tls

    def _again_by_tls(self, ask: Ask) -> tuple[httpx2.URL, Trail, httpx2.URL]:
        url = self.url(ask).copy_with(scheme="https")
        return self.base(ask.subject.registry), Trail(url, str(ask.subject), self.resolve), url

    async def _send(self, request: httpx2.Request, who: str) -> Response:
        """The answer with its body unread. An upload takes as long as it takes, and so may the answer to it."""
        sending = self._http.send(request, stream=True)
        if request.method in ("GET", "HEAD"):
            return await head_of(sending, who, self._answer)
        return await sending

    async def _fetch_token(
        self,
        method: str,
        url: httpx2.URL,
        subject: Subject,
        *,
        headers: Mapping[str, str],
        data: Mapping[str, str] | None,
        limit: int,
    ) -> tuple[Response, bytes]:
        who = f"the token server {url.netloc.decode()}"

        async def once() -> tuple[Response, bytes]:
            request = self._http.build_request(method, url, headers=headers, data=data)
            try:
                response = await head_of(self._http.send(request, stream=True), who, self._answer)
                try:
                    body = await self._read(response, limit, subject, who)
                finally:
                    await response.aclose()
            except httpx2.TransportError as error:
                raise connection_error(error, subject) from error
            if response.status_code in TRANSIENT_STATUS or response.status_code == 429:
                raise error_for(response, body, subject, with_credentials=False)
            return response, body

        return await self.retry.run(once, may_pass, within=self.retry.total)

    async def _read(self, response: Response, limit: int, subject: Subject, who: str) -> bytes:
        body = bytearray()
        async for piece in paced(response.aiter_raw(), who, self._answer):
            body += piece
            if limit and len(body) > limit:
                raise RegistryProtocolError(
                    f"{subject.registry} answers with more than {limit} bytes for {subject}.",
                    remedy="Nothing of it was used; check that this is an OCI registry.",
                )
        return bytes(body)


def _is_bodiless(response: Response) -> bool:
    """Nothing, or next to nothing, will come after the head."""
    if response.request.method == "HEAD" or response.status_code in REDIRECTS:
        return True
    return bool(response.headers.get("Content-Length") == "0")


async def drain(response: Response) -> bytes:
    """The start of a small body, so that the connection can be used again; a broken one counts as empty."""
    body = bytearray()
    with contextlib.suppress(httpx2.TransportError):
        async for piece in paced(response.aiter_raw(), "", _DRAIN):
            body += piece
            if len(body) > MAX_ERROR_BODY:
                break
    return bytes(body[:MAX_ERROR_BODY])
