"""What has arrived goes to the disk while more arrives. The kernel tells what is in memory alone (cachestat)."""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path

import pytest

from modeldist.agent.store import Store
from modeldist.agent.store.write_behind import STEP, WriteBehind, start_writing
from modeldist.artifact import Digest, Shard

PIECE = STEP // 4
_CACHESTAT = 451  # linux/syscalls, since 6.5, the same number on every architecture


def dirty(fd: int) -> int:
    """Pages of the file that nobody has begun to write to disk."""
    everything, counts = (ctypes.c_uint64 * 2)(0, 0), (ctypes.c_uint64 * 5)()
    if ctypes.CDLL(None, use_errno=True).syscall(_CACHESTAT, fd, everything, counts, 0) != 0:
        pytest.skip(f"the kernel does not tell: {os.strerror(ctypes.get_errno())}")
    return counts[1]


def needs_disk(fd: int) -> None:
    """A filesystem in memory has nothing to write, or never writes it."""
    os.pwrite(fd, b"x", 0)
    written = dirty(fd)
    os.fsync(fd)
    if not written or dirty(fd):
        pytest.skip("there is no disk under the temporary directory")


def begun(fd: int, seconds: float = 20.0) -> bool:
    """Whether it comes soon; left alone, the kernel begins after 30 seconds."""
    deadline = time.monotonic() + seconds
    while dirty(fd):
        if time.monotonic() > deadline:
            return False
    return True


def test_every_so_many_verified_bytes_the_disk_begins(store: Store) -> None:
    with store.begin(Shard(Digest("sha256:" + "0" * 64), 2 * STEP), PIECE) as partial:
        needs_disk(partial.fd)
        for piece in range(4):
            assert piece == 0 or dirty(partial.fd), "not for every piece"
            os.pwrite(partial.fd, bytes(PIECE), piece * PIECE)
            partial.add(piece, partial.hash_piece(piece))
        assert begun(partial.fd)


def test_what_is_there_can_be_begun_at_once(tmp_path: Path) -> None:
    with (tmp_path / "small").open("wb", buffering=0) as file:
        needs_disk(file.fileno())
        file.write(bytes(10_000))
        assert dirty(file.fileno())
        start_writing(file.fileno())
        assert begun(file.fileno())


def test_a_file_that_cannot_be_written_to_disk_is_the_syncs_to_report() -> None:
    source, sink = os.pipe()
    try:
        WriteBehind().grown(sink, STEP)
        start_writing(source)
    finally:
        os.close(source)
        os.close(sink)
