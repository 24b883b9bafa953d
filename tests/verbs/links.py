"""Soft-RoCE devices on links that tests make and remove."""

from __future__ import annotations

import ipaddress
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rdma import Rail, discover, rail_at
from tests.verbs.waiting import wait_until

ADDRESS = ipaddress.IPv4Address("10.77.0.1")


def command(*words: str) -> str:
    """Run it; RuntimeError with what it said when it fails."""
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


@contextmanager
def soft_device(name: str, *, link: str = "veth0", address: ipaddress.IPv4Address = ADDRESS) -> Iterator[Rail]:
    """A device on a link of its own, and the rail at its address. The link's other end leads nowhere."""
    command("ip", "link", "add", link, "type", "veth", "peer", "name", f"{link}-far")
    try:
        command("ip", "address", "add", f"{address}/24", "dev", link)
        for end in (link, f"{link}-far"):
            command("ip", "link", "set", end, "up")
        add_device(name, link)
        yield rail(address)
    finally:
        remove_device(name)
        subprocess.run(["ip", "link", "delete", link], check=False, capture_output=True)


def add_device(name: str, link: str) -> None:
    command("rdma", "link", "add", name, "type", "rxe", "netdev", link)


def remove_device(name: str) -> None:
    """Nothing when it is gone already. It waits until everybody has closed it."""
    subprocess.run(["rdma", "link", "delete", name], check=False, capture_output=True, timeout=60)


def rail(address: ipaddress.IPv4Address) -> Rail:
    """Waits for the device's GID table, which the kernel fills a little later."""
    wait_until(f"a GID of {address}", lambda: rail_at(discover(), address) is not None)
    found = rail_at(discover(), address)
    assert found is not None
    return found


def held(kind: str, device: str) -> int:
    """How many of "qp", "mr", "pd", "cq" processes hold, as the kernel counts them."""
    listed = json.loads(command("rdma", "-j", "resource", "show", kind) or "[]")
    return sum(1 for entry in listed if entry.get("ifname") == device and entry.get("pid"))


def counter(device: str, name: str) -> int:
    """One of the device's own counters."""
    return int((Path("/sys/class/infiniband") / device / "ports/1/hw_counters" / name).read_text())


@dataclass(frozen=True)
class Host:
    """A network namespace with an address that the other host and this machine reach, and a Soft-RoCE device of its
    own.

    Linux 6.1's Soft-RoCE works in the first namespace alone, so the devices are there, on the two ends of one link, and
    packets between their addresses are made to cross it; each host's processes use theirs."""

    namespace: str
    address: str
    device: str
    link: str

    def inside(self) -> list[str]:
        """What goes before a command to run it there."""
        return ["ip", "netns", "exec", self.namespace]


HOSTS = (Host("host0", "10.88.0.1", "rxe0", "fab0"), Host("host1", "10.88.0.2", "rxe1", "fab1"))
HERE = "10.88.0.254"
_FABRIC = ("10.77.1.1", "10.77.2.1")


@contextmanager
def two_hosts() -> Iterator[tuple[Host, Host]]:
    """Both hosts, and this machine at HERE."""
    try:
        _make_fabric()
        _make_network()
        for number, host in enumerate(HOSTS):
            add_device(host.device, host.link)
            rail(ipaddress.IPv4Address(_FABRIC[number]))
        yield HOSTS
    finally:
        subprocess.run(["ip", "rule", "add", "pref", "0", "lookup", "local"], check=False, capture_output=True)
        for preference in ("5", "5", "10", "10", "11", "11", "100"):
            subprocess.run(["ip", "rule", "delete", "pref", preference], check=False, capture_output=True)
        for host in HOSTS:
            remove_device(host.device)
            subprocess.run(["ip", "netns", "delete", host.namespace], check=False, capture_output=True)
        for link in ("fab0", "hosts"):
            subprocess.run(["ip", "link", "delete", link], check=False, capture_output=True)


def _make_fabric() -> None:
    """A link whose two addresses are both here, but are reached over it all the same."""
    command("ip", "link", "add", "fab0", "mtu", "9000", "type", "veth", "peer", "name", "fab1", "mtu", "9000")
    command("ip", "rule", "add", "pref", "100", "lookup", "local")
    for number, link in enumerate(("fab0", "fab1")):
        mine, other = _FABRIC[number], _FABRIC[1 - number]
        table = str(101 + number)
        command("ip", "address", "add", f"{mine}/32", "dev", link)
        command("ip", "link", "set", link, "up")
        command("ip", "rule", "add", "pref", "5", "iif", link, "lookup", "local")
        command("ip", "rule", "add", "pref", "10", "from", mine, "to", other, "lookup", table)
        command("ip", "rule", "add", "pref", "11", "oif", link, "lookup", table)
        for name, value in (("accept_local", "1"), ("rp_filter", "0")):
            Path(f"/proc/sys/net/ipv4/conf/{link}/{name}").write_text(value)
    for number, link in enumerate(("fab0", "fab1")):
        route = [f"{_FABRIC[1 - number]}/32", "dev", link, "src", _FABRIC[number], "table", str(101 + number)]
        command("ip", "route", "add", *route)
    command("ip", "rule", "delete", "pref", "0", "lookup", "local")


def _make_network() -> None:
    command("ip", "link", "add", "hosts", "type", "bridge")
    command("ip", "address", "add", f"{HERE}/24", "dev", "hosts")
    command("ip", "link", "set", "hosts", "up")
    for number, host in enumerate(HOSTS):
        command("ip", "netns", "add", host.namespace)
        near, far = f"to{number}", f"from{number}"
        command("ip", "link", "add", near, "type", "veth", "peer", "name", far, "netns", host.namespace)
        command("ip", "link", "set", near, "master", "hosts", "up")
        command(*host.inside(), "ip", "address", "add", f"{host.address}/24", "dev", far)
        for link in ("lo", far):
            command(*host.inside(), "ip", "link", "set", link, "up")
