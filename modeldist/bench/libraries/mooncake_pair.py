"""Mooncake over TCP, batched: one process reads the memory of another. `python mooncake_pair.py BYTES`"""

from __future__ import annotations

import ctypes
import json
import mmap
import multiprocessing
import os
import sys
import time
from multiprocessing.connection import Connection

from mooncake.engine import TransferEngine

STEP = 4 << 20


def holder(size: int, pipe: Connection) -> None:
    engine, address = _made(size)
    pipe.send((engine.get_rpc_port(), address))
    pipe.recv()
    before = time.process_time()
    pipe.send("ready")
    pipe.recv()
    pipe.send(time.process_time() - before)


def main(size: int) -> dict[str, float]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=holder, args=(size, theirs))
    process.start()
    port, remote = ours.recv()
    engine, local = _made(size)
    steps = [(at, min(STEP, size - at)) for at in range(0, size, STEP)]
    ours.send("begin")
    ours.recv()
    cpu, began = time.process_time(), time.perf_counter()
    failed = engine.batch_transfer_sync_read(
        f"127.0.0.1:{port}",
        [local + at for at, _ in steps],
        [remote + at for at, _ in steps],
        [length for _, length in steps],
    )
    seconds = time.perf_counter() - began
    used = time.process_time() - cpu
    if failed:
        raise SystemExit(f"the transfer ended as {failed}")
    ours.send("end")
    used += ours.recv()
    process.kill()
    return {"seconds": seconds, "cpu": used}


def _made(size: int) -> tuple[TransferEngine, int]:
    engine = TransferEngine()
    if engine.initialize("127.0.0.1", "P2PHANDSHAKE", "tcp", ""):
        raise SystemExit("the transfer engine does not start")
    memory = mmap.mmap(-1, size)
    for at in range(0, size, 4096):
        memory[at] = 1  # every page is there before the clock starts
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    _kept.append(memory)
    if engine.register_memory(address, size):
        raise SystemExit("the transfer engine takes no memory")
    return engine, address


_kept: list[object] = []

if __name__ == "__main__":
    found = main(int(sys.argv[1]))
    sys.stdout.write("\n" + json.dumps(found) + "\n")
    sys.stdout.flush()
    os._exit(0)
