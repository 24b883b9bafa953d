"""`python -m rdma probe`: the RDMA devices of this machine, and why one cannot be used.
`python -m rdma bench PARENT CHILD`: reads from one device to another beside ib_read_bw."""

from __future__ import annotations

import argparse
import sys

from rdma import bench
from rdma.devices import Device, discover
from rdma.errors import RdmaError
from rdma.rails import rails

MIB = 1 << 20


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m rdma", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="probe | bench")
    commands.add_parser("probe")
    benchmark = commands.add_parser("bench")
    benchmark.add_argument("parent", help="the device that is read from")
    benchmark.add_argument("child", help="the device that reads; may be the same")
    benchmark.add_argument("--size", type=_at_least_one, default=256, help="MiB per run")
    benchmark.add_argument("--repeat", type=_at_least_one, default=3)
    parent = commands.add_parser("bench-parent")  # the other process of bench
    parent.add_argument("device")
    parent.add_argument("size", type=int)
    options = parser.parse_args(arguments)
    try:
        if options.command == "bench":
            return bench.main(options.parent, options.child, size=options.size * MIB, repeat=options.repeat)
        if options.command == "bench-parent":
            bench.parent(options.device, options.size)
        else:
            probe()
    except RdmaError as error:
        sys.stderr.write(f"rdma: {error} {error.remedy}".rstrip() + "\n")
        return 1
    return 0


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text} is no whole number from 1 on")
    return int(text)


def probe() -> None:
    """Print the devices."""
    devices = discover()
    if not devices:
        sys.stdout.write("No RDMA device: this kernel shows none under /sys/class/infiniband.\n")
    for device in devices:
        sys.stdout.write("\n".join(describe(device)) + "\n")


def describe(device: Device) -> list[str]:
    """Lines for people."""
    numa = "unknown" if device.numa_node is None else device.numa_node
    problem = device.problem or ("" if rails([device]) else "no GID that others can route to")
    lines = [f"{device.name}  NUMA node {numa}  {'usable' if not problem else 'not usable: ' + problem}"]
    chosen = {(rail.port, rail.gid.index) for rail in rails([device])}
    for port in device.ports:
        rate = f"{port.rate * 8 / 1e9:g} Gb/s" if port.rate else "unknown rate"
        lines.append(f"  port {port.number}  {port.state}  {port.link_layer}  {rate}")
        for gid in port.gids:
            used = "  (used)" if (port.number, gid.index) in chosen else ""
            lines.append(f"    GID {gid.index}  {gid.ip}  {gid.kind}  {gid.interface}{used}")
    return lines


if __name__ == "__main__":
    sys.exit(main())
