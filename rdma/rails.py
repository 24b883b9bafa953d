"""Rails: a device, a port of it, and the GID that others reach it by."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from rdma.devices import Device, Gid, Port

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class Rail:
    """A way out of this machine. `rate` in bytes/s where the port says it; `numa_node` where the platform says it."""

    device: str
    port: int
    gid: Gid
    rate: float | None
    numa_node: int | None


def rails(devices: Iterable[Device]) -> tuple[Rail, ...]:
    """Every usable port by its best GID: the fastest first, then by name. A device that is listed in none of them has
    a `problem`, or none of its GIDs can be routed to."""
    found = [
        Rail(device.name, port.number, gid, port.rate, device.numa_node)
        for device in devices
        if not device.problem
        for port in device.ports
        if port.state == "ACTIVE" and (gid := _best_gid(port)) is not None
    ]
    return tuple(sorted(found, key=lambda rail: (-(rail.rate or 0.0), rail.device, rail.port)))


def rail_at(devices: Iterable[Device], address: Address) -> Rail | None:
    """The rail whose GID is this address of the machine: the one that peers who know the address can route to."""
    for device in devices:
        for port in device.ports:
            gid = port.gid_for(address)
            if gid is not None and port.state == "ACTIVE":
                return Rail(device.name, port.number, gid, port.rate, device.numa_node)
    return None


def _best_gid(port: Port) -> Gid | None:
    """InfiniBand's own, or the RoCE v2 GID of an address that leaves the link: IPv4 before IPv6, as most fabrics are
    routed."""
    if port.link_layer == "InfiniBand":
        return port.gids[0] if port.gids else None
    routed = [gid for gid in port.gids if gid.kind == "RoCE v2" and not gid.address.is_link_local]
    return min(routed, key=lambda gid: (gid.address.ipv4_mapped is None, gid.index), default=None)
