"""`python -m rdma probe`: the RDMA devices of this machine, and why one cannot be used."""

from __future__ import annotations

import argparse
import sys

from rdma.devices import Device, discover


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m rdma", description=__doc__)
    parser.add_argument("command", choices=["probe"])
    parser.parse_args(arguments)
    devices = discover()
    if not devices:
        sys.stdout.write("No RDMA device: this kernel shows none under /sys/class/infiniband.\n")
    for device in devices:
        sys.stdout.write("\n".join(describe(device)) + "\n")
    return 0


def describe(device: Device) -> list[str]:
    """Lines for people."""
    numa = "unknown" if device.numa_node is None else device.numa_node
    lines = [f"{device.name}  NUMA node {numa}  {'usable' if not device.problem else 'not usable: ' + device.problem}"]
    for port in device.ports:
        rate = f"{port.rate * 8 / 1e9:g} Gb/s" if port.rate else "unknown rate"
        lines.append(f"  port {port.number}  {port.state}  {port.link_layer}  {rate}")
        lines.extend(f"    GID {gid.index}  {gid.ip}  {gid.kind}  {gid.interface}" for gid in port.gids)
    return lines


if __name__ == "__main__":
    sys.exit(main())
