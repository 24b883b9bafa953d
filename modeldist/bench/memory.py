"""Free memory that is still the machine's own when a run comes to need it.

A host takes back what a virtual machine has had free for two seconds, and a page that it must supply again costs
whoever writes to it more than the writing does (about 1 s/GB where this was written). A run of one second finds all
memory that was used before it, one of three seconds only the first part: measured so, the slower looks slower than it
is. So the memory for a run is kept in use, and given back a step ahead of need as free memory shrinks: nobody pays.

A process of its own (`python -m modeldist.bench.memory`): its CPU time must not be in that of a contender.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_STEP = 64 << 20  # bytes given back at a time
_AHEAD = 768 << 20  # bytes of free memory ahead of need: a second's worth, and no more
_TICK = 0.005  # seconds between two looks


@contextmanager
def kept_at_hand(size: int, directory: Path) -> Iterator[None]:
    """While in here, there is memory for `size` bytes more of files in `directory` that need not be had from the host
    (or for half of what is free, if that is less)."""
    command = [sys.executable, "-m", "modeldist.bench.memory", str(size), str(directory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as keeper:
        assert keeper.stdin is not None
        assert keeper.stdout is not None
        keeper.stdout.readline()
        try:
            yield
        finally:
            keeper.stdin.close()


def main() -> None:
    """Of the process that keeps so many bytes in files of a directory, until its standard input ends."""
    blocks = [_used(sys.argv[2]) for _ in range(0, min(int(sys.argv[1]), _free() // 2), _STEP)]
    wanted = _free() + _AHEAD
    ready, over = "", False
    while blocks and not over:
        while blocks and _free() < wanted:
            blocks.pop().close()
        if not ready:
            print(ready := "ready", flush=True)
        over = bool(select.select([sys.stdin], [], [], _TICK)[0])


def _used(directory: str) -> IO[bytes]:
    """As pages of a file: they are given back as what the run will ask for."""
    block = tempfile.TemporaryFile(dir=directory, buffering=0)  # noqa: SIM115
    zeros = bytes(1 << 20)
    for _ in range(0, _STEP, len(zeros)):
        block.write(zeros)
    return block


def _free() -> int:
    """Bytes that are free now."""
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
