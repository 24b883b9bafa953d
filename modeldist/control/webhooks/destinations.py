"""Where webhooks may go: to public addresses, and to others that whoever runs the control plane has named
([ADR 14](docs/adr/0014-where-a-server-may-lead.md)). It reaches what who asks for a pull may not: other services on its
machine, its private network, the metadata address of its cloud."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from urllib.parse import urlsplit

from modeldist.errors import UsageError
from modelpack.oci.addresses import Zone, is_loopback, zone_of_address

_NAME = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9._-]{0,251}[a-z0-9_])?")
_REMEDY = "Whoever runs the control plane can allow it: modeldist server --webhook-host {}"


class Destinations:
    """`allowed`: hosts (`platform.internal`, `*.platform.internal`), addresses and networks (`10.0.0.0/8`) beside those
    in public. A name allows private addresses and loopback, never link-local ones, which only a network does. Raises
    UsageError for what is none of these."""

    def __init__(self, allowed: Collection[str]) -> None:
        self._networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        self._names: set[str] = set()
        for one in allowed:
            try:
                self._networks.append(ipaddress.ip_network(one.strip("[]")))
                continue
            except ValueError:
                name = one.lower().removesuffix(".")
            if not _NAME.fullmatch(name):
                raise UsageError(
                    f"{one!r} is no host, address or network that webhooks may be sent to.",
                    remedy="Write --webhook-host platform.internal, '*.platform.internal' or 10.0.0.0/8.",
                )
            self._names.add(name)

    def check(self, url: str) -> None:
        """What can be said before its name is looked up. Raises UsageError."""
        host = urlsplit(url).hostname or ""
        address = "127.0.0.1" if is_loopback(host) and zone_of_address(host) is None else host
        if zone_of_address(address) is not None and (why := self.refused(host, address)):
            raise UsageError(why, remedy=_REMEDY.format(host))

    def refused(self, host: str, address: str) -> str:
        """Why nothing is sent to this address of a host; empty: it may be."""
        zone = zone_of_address(address)
        if zone is Zone.PUBLIC or self._in_a_network(address):
            return ""
        if zone is not Zone.LINK_LOCAL and self._named(host):
            return ""
        kind = zone.value if zone else "unknown"
        called = host if host == address else f"{host} ({address})"
        return f"Webhooks are not sent to {called}: the address is {kind}."

    def _in_a_network(self, address: str) -> bool:
        try:
            found = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
        return any((mapped or found) in network for network in self._networks)

    def _named(self, host: str) -> bool:
        name = host.lower().removesuffix(".")
        parents = name.split(".")[1:]
        return name in self._names or any(f"*.{'.'.join(parents[at:])}" in self._names for at in range(len(parents)))
