"""Following redirects by hand: which hop is allowed, and which headers may take it.

Registries answer blob requests with a redirect to an object store. The Authorization header belongs to the registry
and must not arrive there; Range must. Pure but for the name look-up, so that blocking readers can use it too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx2

from modelpack.errors import RegistryProtocolError
from modelpack.oci.addresses import Resolve, may_send_to, resolve_by_system

MAX_REDIRECTS = 5
REDIRECTS = frozenset({301, 302, 303, 307, 308})
_KEEP_METHOD = frozenset({307, 308})
_BOUND_TO_ORIGIN = frozenset({"authorization", "cookie", "proxy-authorization"})


def host_name(url: httpx2.URL) -> str:
    """The host as it is looked up and connected to. `url.host` is for people: it takes punycode apart, and putting that
    together again may give another name (`xn--fa-hia` is `faß`, which the system's resolver takes for `fass`). Empty
    for what cannot be looked up."""
    try:
        return url.raw_host.decode("ascii")
    except UnicodeError:  # in the zone of an IPv6 address, which httpx2 takes as it is
        return ""


def origin(url: httpx2.URL) -> tuple[str, str, int]:
    """Scheme, host and port: what credentials are bound to."""
    default = 443 if url.scheme == "https" else 80
    return url.scheme, host_name(url), url.port or default


def is_web_address(url: httpx2.URL) -> bool:
    """Whether a server may name `url` for us to go to: plain http or https, of a port and a host that can exist."""
    if url.scheme not in ("http", "https") or not host_name(url) or url.userinfo:
        return False
    if url.port is not None and not 0 < url.port < 1 << 16:
        return False
    try:
        _ = url.host  # the client asks for it, and of punycode that means nothing it raises
        # The system's resolver asks for labels of 1 to 63 bytes (RFC 1035, section 2.3.4).
        host_name(url).encode("idna")
    except UnicodeError:
        return False
    return True


def headers_for(source: httpx2.URL, target: httpx2.URL, headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of a request to `source` that may go on to `target`: on another origin, no credentials."""
    if origin(source) == origin(target):
        return dict(headers)
    return {name: value for name, value in headers.items() if name.lower() not in _BOUND_TO_ORIGIN}


@dataclass
class Trail:
    """The hops of one request. `thing` is what error messages speak of."""

    start: httpx2.URL
    thing: str
    resolve: Resolve = resolve_by_system
    _seen: list[httpx2.URL] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._seen.append(self.start)

    async def follow(self, response: httpx2.Response) -> httpx2.URL:
        """Where the redirect answer leads. Raises RegistryProtocolError for a hop not to be made."""
        if response.request.method not in ("GET", "HEAD") and response.status_code not in _KEEP_METHOD:
            raise self._refused(f"answers {response.request.method} with redirect {response.status_code}")
        location = response.headers.get("Location", "")
        if not location:
            raise self._refused("redirects without saying where to")
        return await self.hop(location)

    async def hop(self, location: str) -> httpx2.URL:
        """`location`, relative to the last hop, as the next URL. Raises RegistryProtocolError when not allowed."""
        here = self._seen[-1]
        try:
            target = here.join(location)
        except (httpx2.InvalidURL, ValueError):
            raise self._refused("redirects to something that is no URL") from None
        if not is_web_address(target):
            raise self._refused("redirects to something other than a plain web address")
        if target in self._seen:
            raise self._refused("redirects in a loop")
        if len(self._seen) > MAX_REDIRECTS:
            raise self._refused(f"redirects more than {MAX_REDIRECTS} times")
        if here.scheme == "https" and target.scheme == "http":
            raise self._refused(f"redirects from https to plain http at {host_name(target)}")
        if not await may_send_to(host_name(self.start), host_name(target), self.resolve):
            raise self._refused(f"redirects to {host_name(target)}, an address inside this network")
        self._seen.append(target)
        return target

    def _refused(self, problem: str) -> RegistryProtocolError:
        return RegistryProtocolError(
            f"{self.thing}: the registry at {host_name(self.start)} {problem}.",
            remedy="Tell the registry's operator; the redirect was not followed.",
        )
