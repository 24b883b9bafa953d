"""RDMA devices of this machine, read from sysfs: no verbs library and no privileges needed to look.

The files are those of the kernel's Documentation/ABI/stable/sysfs-class-infiniband.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path

SYSFS = Path("/sys/class/infiniband")
_RATE = re.compile(r"([0-9.]+) Gb/sec")


@dataclass(frozen=True)
class Gid:
    """One entry of a port's GID table. `kind` is the kernel's word: "IB/RoCE v1" or "RoCE v2"."""

    index: int
    address: ipaddress.IPv6Address
    kind: str
    interface: str

    @property
    def ip(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
        """The address as IP writes it: an IPv4-mapped GID is the IPv4 address."""
        return self.address.ipv4_mapped or self.address


@dataclass(frozen=True)
class Port:
    """`rate` in bytes/s; `link_layer` "InfiniBand" or "Ethernet"; `state` as the kernel says it ("ACTIVE", "DOWN")."""

    number: int
    state: str
    link_layer: str
    rate: float | None
    gids: tuple[Gid, ...]

    def gid_for(self, ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> Gid | None:
        """The RoCE v2 GID of the address in use. Index 0 is link-local on most devices and routes nowhere."""
        return next((gid for gid in self.gids if gid.ip == ip and gid.kind == "RoCE v2"), None)


@dataclass(frozen=True)
class Device:
    """`numa_node` is None where the platform does not say."""

    name: str
    numa_node: int | None
    ports: tuple[Port, ...]

    @property
    def problem(self) -> str:
        """Why it cannot be used now; empty when it can."""
        if not self.ports:
            return "it has no ports"
        if not any(port.state == "ACTIVE" for port in self.ports):
            states = ", ".join(f"port {port.number} is {port.state}" for port in self.ports)
            return f"no port is active ({states})"
        if not any(port.gids for port in self.ports):
            return "its GID table is empty: give its network interface an address"
        return ""


def discover(sysfs: Path = SYSFS) -> tuple[Device, ...]:
    """All devices, by name. Empty where the kernel has no RDMA subsystem: that is no error."""
    if not sysfs.is_dir():
        return ()
    return tuple(_device(folder) for folder in sorted(sysfs.iterdir()))


def _device(folder: Path) -> Device:
    numa = _read(folder / "device" / "numa_node")
    ports = folder / "ports"
    numbers = sorted(int(entry.name) for entry in ports.iterdir()) if ports.is_dir() else []
    return Device(
        folder.name,
        int(numa) if numa.isdigit() else None,
        tuple(_port(number, ports / str(number)) for number in numbers),
    )


def _port(number: int, folder: Path) -> Port:
    state = _read(folder / "state").partition(":")[2].strip() or "UNKNOWN"
    rate = _RATE.match(_read(folder / "rate"))
    return Port(
        number,
        state,
        _read(folder / "link_layer") or "unknown",
        float(rate[1]) * 1e9 / 8 if rate else None,
        _gids(folder),
    )


def _gids(port: Path) -> tuple[Gid, ...]:
    table = port / "gids"
    found = []
    for entry in sorted(table.iterdir(), key=lambda path: int(path.name)) if table.is_dir() else ():
        text = _read(entry)
        if not text or set(text) <= {"0", ":"}:
            continue
        attributes = port / "gid_attrs"
        found.append(
            Gid(
                int(entry.name),
                ipaddress.IPv6Address(text),
                _read(attributes / "types" / entry.name),
                _read(attributes / "ndevs" / entry.name),
            )
        )
    return tuple(found)


def _read(file: Path) -> str:
    """Unset attributes answer EINVAL on reading: the same as absent."""
    try:
        return file.read_text().strip()
    except OSError:
        return ""
