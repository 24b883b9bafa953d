"""One process reads the memory of another, by a library over TCP. `python memory_pair.py nixl|mooncake BYTES`

NIXL goes over UCX and reports its state when asked; Mooncake reads a batch and returns when all of it is there.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Protocol

STEP = 4 << 20


class Side(Protocol):
    """One process's end, with registered memory that all exists."""

    def offer(self) -> Any:
        """What the reader must know of the holder."""

    def prepare(self, offered: Any) -> Callable[[], None]:
        """Everything but the transfer, which is what is returned."""


class Nixl:
    def __init__(self, name: str, size: int) -> None:
        os.environ.setdefault("UCX_TLS", "tcp")
        from nixl._api import nixl_agent, nixl_agent_config

        self._agent = nixl_agent(name, nixl_agent_config(backends=["UCX"]))
        self._size = size
        self._memory, self._address = memory(size)
        self._agent.register_memory([(self._address, size, 0, "")], mem_type="DRAM")

    def offer(self) -> Any:
        return self._agent.get_agent_metadata(), self._address

    def prepare(self, offered: Any) -> Callable[[], None]:
        metadata, remote = offered
        name = self._agent.add_remote_agent(metadata)
        into, source = (
            self._agent.get_xfer_descs([(start + at, length, 0) for at, length in steps(self._size)], mem_type="DRAM")
            for start in (self._address, remote)
        )
        handle = self._agent.initialize_xfer("READ", into, source, name, b"done")

        def transfer() -> None:
            state = self._agent.transfer(handle)
            while state == "PROC":
                time.sleep(0.0005)
                state = self._agent.check_xfer_state(handle)
            if state != "DONE":
                raise SystemExit(f"the transfer ended as {state}")

        return transfer


class Mooncake:
    def __init__(self, _name: str, size: int) -> None:
        from mooncake.engine import TransferEngine

        self._engine = TransferEngine()
        self._size = size
        self._memory, self._address = memory(size)
        if self._engine.initialize("127.0.0.1", "P2PHANDSHAKE", "tcp", ""):
            raise SystemExit("the transfer engine does not start")
        if self._engine.register_memory(self._address, size):
            raise SystemExit("the transfer engine takes no memory")

    def offer(self) -> Any:
        return self._engine.get_rpc_port(), self._address

    def prepare(self, offered: Any) -> Callable[[], None]:
        port, remote = offered
        into, source = ([start + at for at, _ in steps(self._size)] for start in (self._address, remote))
        lengths = [length for _, length in steps(self._size)]

        def transfer() -> None:
            if failed := self._engine.batch_transfer_sync_read(f"127.0.0.1:{port}", into, source, lengths):
                raise SystemExit(f"the transfer ended as {failed}")

        return transfer


LIBRARIES: dict[str, Callable[[str, int], Side]] = {"nixl": Nixl, "mooncake": Mooncake}


def memory(size: int) -> tuple[mmap.mmap, int]:
    """Memory and its address; every page is there before the clock starts."""
    found = mmap.mmap(-1, size)
    for at in range(0, size, mmap.PAGESIZE):
        found[at] = 1
    return found, ctypes.addressof(ctypes.c_char.from_buffer(found))


def steps(size: int) -> list[tuple[int, int]]:
    """(start, length)"""
    return [(at, min(STEP, size - at)) for at in range(0, size, STEP)]


def hold(library: str, size: int, pipe: Connection) -> None:
    side = LIBRARIES[library]("holder", size)
    pipe.send(side.offer())
    pipe.recv()
    before = time.process_time()
    pipe.send("ready")
    pipe.recv()
    pipe.send(time.process_time() - before)


def main(library: str, size: int) -> dict[str, float]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=hold, args=(library, size, theirs))
    process.start()
    offered = ours.recv()
    side = LIBRARIES[library]("reader", size)
    transfer = side.prepare(offered)
    ours.send("begin")
    ours.recv()
    cpu, began = time.process_time(), time.perf_counter()
    transfer()
    seconds = time.perf_counter() - began
    used = time.process_time() - cpu
    ours.send("end")
    used += ours.recv()
    process.kill()
    return {"seconds": seconds, "cpu": used}


if __name__ == "__main__":
    found = main(sys.argv[1], int(sys.argv[2]))
    sys.stdout.write("\n" + json.dumps(found) + "\n")
    sys.stdout.flush()
    os._exit(0)
