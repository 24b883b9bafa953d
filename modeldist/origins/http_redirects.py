"""Which redirects a read follows, and what it still says there. Pure rules, no I/O.

A redirect may lead from a public address to public ones only, and never deeper into the network than where it came
from: else any origin could make an agent read cloud metadata services or its neighbours' loopback ports.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

from modeldist.errors import OriginProtocolError
from modeldist.tracing.redaction import shown
from modelpack.oci.addresses import MAY_SEND_TO, Zone, is_loopback, zone_of_address

MAX_REDIRECTS = 5
REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})
_BOUND_TO_ORIGIN = frozenset({"authorization", "cookie", "proxy-authorization"})


def leads_to(zone: Zone, *, private_allowed: bool) -> frozenset[Zone]:
    """Zones that a redirect from `zone` may lead to."""
    allowed = frozenset(MAY_SEND_TO[zone])
    return allowed | {Zone.PRIVATE} if private_allowed else allowed


def zone_of_name(host: str) -> Zone:
    """Zone as far as the name alone tells (used behind a proxy, which does the resolving)."""
    if is_loopback(host):
        return Zone.LOOPBACK
    return zone_of_address(host) or Zone.PUBLIC


class Endpoint(NamedTuple):
    """Scheme, host and port: what credentials and connections are bound to."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Endpoint:
        """Raises OriginProtocolError on anything that is no plain http(s) URL."""
        try:
            split = urlsplit(url)
            port = split.port
        except ValueError:
            raise _bad_url(url) from None
        host = (split.hostname or "").lower()
        if split.scheme not in ("http", "https") or not host or split.username is not None:
            raise _bad_url(url)
        if not url.isascii() or not url.isprintable() or " " in url:
            raise _bad_url(url)
        return cls(split.scheme, host, port or (443 if split.scheme == "https" else 80))

    @property
    def authority(self) -> str:
        """As in a Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = {"http": 80, "https": 443}[self.scheme]
        return host if self.port == default else f"{host}:{self.port}"


def next_hop(url: str, location: str, headers: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Where a redirect leads and which headers go along: Range always, credentials only within one endpoint.

    Raises OriginProtocolError when there is no usable target or TLS would be left.
    """
    here = Endpoint.of(url)
    if not location:
        raise OriginProtocolError(
            f"{here.authority}: a redirect without a Location.", remedy="Ask who runs the origin."
        )
    try:
        target = urljoin(url, location).partition("#")[0]
    except ValueError:
        raise _bad_url(location) from None
    there = Endpoint.of(target)
    if here.scheme == "https" and there.scheme == "http":
        raise OriginProtocolError(
            f"{here.authority}: redirects from https to http, at {there.authority}.",
            remedy="The origin must redirect to https; nothing is read without TLS here.",
        )
    if here == there:
        return target, dict(headers)
    return target, {name: value for name, value in headers.items() if name.lower() not in _BOUND_TO_ORIGIN}


def _bad_url(url: str) -> OriginProtocolError:
    return OriginProtocolError(
        f"{shown(url)[:200]!r} is not an http or https URL this program follows.",
        remedy="Credentials in URLs, other schemes and control characters are refused.",
    )
