"""Where a host is: on this machine, on the link, in a private network or in public; and who may send us to whom.

A registry in public must not be able to make this machine talk to its own services or its cloud's metadata address,
neither by a redirect nor by a token realm.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum

Resolve = Callable[[str], Awaitable[Sequence[str]]]
"""Host name to IP addresses as text; empty when it has none."""


class Zone(Enum):
    LOOPBACK = "loopback"
    LINK_LOCAL = "link-local"
    PRIVATE = "private"
    PUBLIC = "public"


MAY_SEND_TO = {
    Zone.PUBLIC: {Zone.PUBLIC},
    Zone.PRIVATE: {Zone.PUBLIC, Zone.PRIVATE},
    Zone.LINK_LOCAL: {Zone.PUBLIC, Zone.PRIVATE, Zone.LINK_LOCAL},
    Zone.LOOPBACK: {Zone.PUBLIC, Zone.PRIVATE, Zone.LOOPBACK},
}
"""Zones that a server in the key's zone may make us talk to."""

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NUMBERS = re.compile(r"(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]+)){0,3}\.?", re.IGNORECASE)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052, section 2.1
_COMPATIBLE = ipaddress.IPv6Network("::/96")  # RFC 4291, section 2.5.5.1


def host_of(registry: str) -> str:
    """The host of `host[:port]`, without the brackets of an IPv6 address."""
    if registry.startswith("["):
        return registry[1:].partition("]")[0]
    return registry.partition(":")[0]


def is_loopback(host: str) -> bool:
    """Whether the name itself says so (no look-up): localhost, 127.0.0.0/8, ::1, in any spelling."""
    name = host.lower().removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = _address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    return address is not None and (address.is_loopback or address.is_unspecified)


async def resolve_by_system(host: str) -> Sequence[str]:
    """The system's resolver. A name it does not know gives no addresses: behind a proxy only the proxy knows it."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return ()
    return [str(entry[4][0]) for entry in found]


async def zone_of(host: str, resolve: Resolve = resolve_by_system) -> Zone:
    """The innermost zone any of the host's addresses lies in."""
    if is_loopback(host):
        return Zone.LOOPBACK
    if zone := zone_of_address(host):
        return zone
    zones = {zone_of_address(address) for address in await resolve(host)}
    return next((zone for zone in Zone if zone in zones), Zone.PUBLIC)


async def may_send_to(source: str, target: str, resolve: Resolve = resolve_by_system) -> bool:
    """Whether a server at host `source` may make us talk to host `target`."""
    if source == target:
        return True
    target_zone = await zone_of(target, resolve)
    if target_zone is Zone.PUBLIC:
        return True
    return target_zone in MAY_SEND_TO[await zone_of(source, resolve)]


def zone_of_address(text: str) -> Zone | None:
    """Zone of an IP address in any spelling that the system connects to, seen through an IPv6 zone and through an IPv6
    address that stands for an IPv4 one; None when `text` is no address."""
    address = _address(text.partition("%")[0])
    if address is None:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        address = _within(address) or address
    if address.is_loopback or address.is_unspecified:  # connecting to 0.0.0.0 reaches this machine
        return Zone.LOOPBACK
    if address.is_link_local:
        return Zone.LINK_LOCAL
    return Zone.PUBLIC if address.is_global else Zone.PRIVATE


def _address(text: str) -> _Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        pass
    if not _NUMBERS.fullmatch(text):
        return None
    try:  # 127.1, 2130706433, 0x7f.1, 0177.0.0.1
        return ipaddress.IPv4Address(socket.inet_aton(text.removesuffix(".")))
    except OSError:
        return None


def _within(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that a translator or a tunnel on the way would connect to instead."""
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour
