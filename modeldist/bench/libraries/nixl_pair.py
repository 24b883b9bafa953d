"""NIXL over UCX TCP: one process reads the other's memory. `python nixl_pair.py BYTES`"""

from __future__ import annotations

import json
import mmap
import multiprocessing
import os
import sys
import time
from multiprocessing.connection import Connection

import numpy

os.environ.setdefault("UCX_TLS", "tcp")

from nixl._api import nixl_agent, nixl_agent_config

STEP = 4 << 20


def holder(size: int, pipe: Connection) -> None:
    agent, address = _made("holder", size)
    pipe.send((agent.get_agent_metadata(), address))
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
    metadata, remote = ours.recv()
    agent, local = _made("reader", size)
    name = agent.add_remote_agent(metadata)
    steps = [(at, min(STEP, size - at)) for at in range(0, size, STEP)]
    into = agent.get_xfer_descs([(local + at, length, 0) for at, length in steps], mem_type="DRAM")
    source = agent.get_xfer_descs([(remote + at, length, 0) for at, length in steps], mem_type="DRAM")
    handle = agent.initialize_xfer("READ", into, source, name, b"done")
    ours.send("begin")
    ours.recv()
    cpu, began = time.process_time(), time.perf_counter()
    state = agent.transfer(handle)
    while state == "PROC":
        time.sleep(0.0005)
        state = agent.check_xfer_state(handle)
    seconds = time.perf_counter() - began
    used = time.process_time() - cpu
    if state != "DONE":
        raise SystemExit(f"the transfer ended as {state}")
    ours.send("end")
    used += ours.recv()
    agent.release_xfer_handle(handle)
    process.kill()
    return {"seconds": seconds, "cpu": used}


def _made(name: str, size: int) -> tuple[nixl_agent, int]:
    agent = nixl_agent(name, nixl_agent_config(backends=["UCX"]))
    memory = numpy.frombuffer(mmap.mmap(-1, size), dtype=numpy.uint8)
    memory[:] = 1  # every page is there before the clock starts
    _kept.append(memory)
    address = int(memory.ctypes.data)
    agent.register_memory([(address, size, 0, "")], mem_type="DRAM")
    return agent, address


_kept: list[object] = []

if __name__ == "__main__":
    found = main(int(sys.argv[1]))
    sys.stdout.write("\n" + json.dumps(found) + "\n")
    sys.stdout.flush()
    os._exit(0)
