"""`python -m rdma bench`: goodput of reads beside `ib_read_bw` of perftest, which is what the device can do.

Both read the same range again and again, with as many operations of 1 MiB in flight, parent and child as two processes
on the devices named; each rival is measured in turn with the other, the medians are compared. CPU is the child's.
"""

from __future__ import annotations

import json
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass

from rdma.devices import discover
from rdma.errors import RdmaError
from rdma.interface import OPERATION, Endpoint, RemoteRange
from rdma.rails import Rail, rails

MIB = 1 << 20
_AHEAD = 16  # operations in flight: more than hide the round trip, as perftest's 128 do
_RESULT = re.compile(r"^\s*\d+\s+\d+\s+[\d.]+\s+([\d.]+)\s", re.MULTILINE)  # bytes, iterations, peak, average MB/s


@dataclass(frozen=True)
class Measured:
    """Bytes per second, and CPU seconds of this process per GiB."""

    goodput: float
    cpu: float


def rail_of(device: str) -> Rail:
    """Its best rail. Raises RdmaError."""
    for rail in rails(discover()):
        if rail.device == device:
            return rail
    raise RdmaError(f"There is no usable RDMA device {device}.", remedy="`python -m rdma probe` says why.")


def parent(device: str, size: int) -> None:
    """Expose `size` bytes to who talks over standard input and output, until it hangs up."""
    from rdma.verbs import VerbsDevice

    opened = VerbsDevice(rail_of(device))
    pair = opened.queue_pair()
    _say(asdict(pair.endpoint) | {"gid": pair.endpoint.gid.hex()})
    pair.connect(_endpoint(sys.stdin.readline()))
    _say(asdict(pair.expose(opened.allocate(size), 0, size).remote))
    sys.stdin.readline()
    opened.close()


def _say(values: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


def _endpoint(line: str) -> Endpoint:
    values = json.loads(line)
    return Endpoint(**values | {"gid": bytes.fromhex(values["gid"])})


def reads(parent_device: str, child_device: str, size: int, count: int) -> Measured:
    """Read `count` times `size` bytes. Raises RdmaError."""
    from rdma.verbs import VerbsDevice

    rail_of(parent_device)  # its absence is told here, by one process
    command = [sys.executable, "-m", "rdma", "bench-parent", parent_device, str(size)]
    rail = rail_of(child_device)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        opened = VerbsDevice(rail)
        try:
            pair = opened.queue_pair()
            other = _endpoint(process.stdout.readline())
            mine = asdict(pair.endpoint) | {"gid": pair.endpoint.gid.hex()}
            process.stdin.write(json.dumps(mine) + "\n")
            process.stdin.flush()
            pair.connect(other)
            source = RemoteRange(**json.loads(process.stdout.readline()))
            into = opened.allocate(size)
            room = threading.Semaphore(max(1, _AHEAD * OPERATION // size))
            failures: list[RdmaError] = []

            def on_read(failure: RdmaError | None) -> None:
                if failure is not None:
                    failures.append(failure)
                room.release()

            began, cpu = time.monotonic(), time.process_time()
            ahead = max(1, _AHEAD * OPERATION // size)
            for _ in range(count):
                room.acquire()
                pair.read(source, into, 0, on_read)
            for _ in range(ahead):
                room.acquire()
            took, used = time.monotonic() - began, time.process_time() - cpu
            if failures:
                raise failures[0]
            return Measured(count * size / took, used * (1 << 30) / (count * size))
        finally:
            opened.close()
            process.stdin.close()


def perftest(parent_device: str, child_device: str, size: int, count: int) -> float:
    """Bytes per second of ib_read_bw by operations of `size` bytes. Raises RdmaError."""
    options = ["-s", str(size), "-n", str(count), "-F"]
    server = subprocess.Popen(
        ["ib_read_bw", "-d", parent_device, "-x", str(rail_of(parent_device).gid.index), *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        gid = str(rail_of(child_device).gid.index)
        for _ in range(50):  # until it listens
            client = subprocess.run(
                ["ib_read_bw", "-d", child_device, "-x", gid, *options, "127.0.0.1"],
                capture_output=True,
                text=True,
                check=False,
            )
            if found := _RESULT.search(client.stdout):
                return float(found[1]) * MIB
            time.sleep(0.2)
        raise RdmaError(f"ib_read_bw did not run: {client.stdout[-300:]}{client.stderr[-300:]}")
    finally:
        server.kill()
        server.wait()


def main(parent_device: str, child_device: str, *, size: int, repeat: int) -> int:
    """Print the comparison; the exit status."""
    counts = max(1, size // OPERATION)
    ours: list[Measured] = []
    theirs: list[float] = []
    for _ in range(repeat):
        ours.append(reads(parent_device, child_device, OPERATION, counts))
        if shutil.which("ib_read_bw"):
            theirs.append(perftest(parent_device, child_device, OPERATION, counts))
    goodput = statistics.median(sample.goodput for sample in ours)
    cpu = statistics.median(sample.cpu for sample in ours)
    sys.stdout.write(f"rdma reads of 1 MiB: {goodput / 1e6:.1f} MB/s, {cpu:.3f} CPU s/GiB (median of {repeat})\n")
    if theirs:
        limit = statistics.median(theirs)
        sys.stdout.write(f"ib_read_bw:          {limit / 1e6:.1f} MB/s; ratio {goodput / limit:.2f}\n")
    else:
        sys.stdout.write("ib_read_bw is not installed (Debian: perftest): nothing to compare with\n")
    return 0
