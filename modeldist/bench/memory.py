"""Free memory that is still the machine's own when a run comes to need it.

A host that reports free pages takes back what a virtual machine has had free for two seconds, and a page that it must
supply again costs whoever writes to it more than the writing does: 2.3 instead of 0.15 CPU s/GB where this was written.
A run of one second finds all memory that was used before it, one of three seconds only the first part: measured so,
the slower looks slower than it is. So free memory is kept in use, all of it, since the kernel hands out any that is
free: pages of other zones, or whole ones instead of parts, before those that were used last. It is given back a step
ahead of need: nobody pays. That is how a machine is that has been up for long, with its memory full of cached files.

A process of its own (`python -m modeldist.bench.memory`): its CPU time must not be in that of a contender.
"""

from __future__ import annotations

import mmap
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from modeldist.errors import ModeldistError

_STEP = 64 << 20  # bytes given back at a time
_AHEAD = 640 << 20  # bytes of free memory ahead of need: what a slow run uses in a second
_LEFT = 192 << 20  # bytes nobody gets: what is free when all is kept may be the host's
_RUNS = 32  # times what a run writes are kept at most
_TICK = 0.005  # seconds between two looks
_WHOLE = 9  # order of the pages that count, 2 MiB: smaller ones are not taken back, nor is a large write put there
_DEVICES = Path("/sys/bus/virtio/devices")
_BALLOON, _REPORTING = 5, 5  # virtio's device type, and the feature's bit


class MemoryTaken(ModeldistError):
    """The process that kept memory for a benchmark's runs is gone."""

    code = "memory_taken"


@contextmanager
def kept_at_hand(size: int, devices: Path = _DEVICES) -> Iterator[Callable[[], None]]:
    """In here, what is yielded brings memory at hand for the next run, which writes `size` bytes: to be called before
    each. Does nothing where no host takes memory back. Raises MemoryTaken."""
    if not host_takes_back(devices):
        yield lambda: None
        return
    command = [sys.executable, "-m", "modeldist.bench.memory", str(size * _RUNS)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as keeper:
        assert keeper.stdin is not None
        assert keeper.stdout is not None
        ask, answer = keeper.stdin, keeper.stdout

        def keep() -> None:
            with suppress(BrokenPipeError):
                ask.write(b"\n")
                ask.flush()
            if not answer.readline():
                raise MemoryTaken(
                    "The memory kept for the next run was needed by other programs.",
                    remedy="End what else uses much memory, and measure again.",
                )

        try:
            yield keep
        finally:
            with suppress(BrokenPipeError):
                ask.close()


def host_takes_back(devices: Path = _DEVICES) -> bool:
    """Whether a balloon device tells the host of free pages. `devices`: virtio's, as sysfs shows them."""
    for device in devices.glob("*"):
        with suppress(OSError, ValueError, IndexError):
            kind, features = (device / "device").read_text(), (device / "features").read_text()
            if int(kind, 16) == _BALLOON and features[_REPORTING] == "1":
                return True
    return False


def main() -> None:
    """Of the process that keeps memory, up to so many bytes, until its standard input ends; anew for each line."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    limit = int(sys.argv[1])
    blocks: list[mmap.mmap] = []
    while True:
        while blocks and _free() < _AHEAD:
            blocks.pop().close()
        if select.select([sys.stdin], [], [], _TICK)[0]:
            if not sys.stdin.readline():
                return
            while _free() > _LEFT and len(blocks) * _STEP < limit:
                blocks.append(_used())
            for _ in range(0, _AHEAD - _LEFT, _STEP):
                if blocks:
                    blocks.pop().close()
            print("kept", flush=True)


def _used() -> mmap.mmap:
    """Memory that is this process's, in pages as large as there are."""
    block = mmap.mmap(-1, _STEP, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):  # a kernel without them
        block.madvise(mmap.MADV_HUGEPAGE)
    for position in range(0, _STEP, mmap.PAGESIZE):
        block[position] = 1
    return block


def _free() -> int:
    """Bytes that are free now in pages that a host takes back."""
    pages = 0
    for line in Path("/proc/buddyinfo").read_text().splitlines():
        _, _, counts = line.partition("zone")
        name, *counted = counts.split()
        if name != "DMA":
            pages += sum(int(count) << order for order, count in enumerate(counted) if order >= _WHOLE)
    return pages * mmap.PAGESIZE


if __name__ == "__main__":
    main()
