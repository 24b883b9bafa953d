"""A disk that cannot be read: whoever waits for a digest is told, and the threads go on with other shards."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from modeldist.agent.store.follower import Follower, HashThreads
from modeldist.artifact import Digest
from tests.servers.artifacts import sha256

CONTENT = b"of a shard" * 1000


def test_a_read_that_fails_ends_no_thread(tmp_path: Path) -> None:
    (tmp_path / "shard").write_bytes(CONTENT)
    cannot, can = os.open(tmp_path / "shard", os.O_WRONLY), os.open(tmp_path / "shard", os.O_RDONLY)
    threads = HashThreads(limit=1)
    bad, good = (Follower(fd, Digest(sha256(CONTENT)), len(CONTENT), threads) for fd in (cannot, can))
    try:
        bad.advance(len(CONTENT))
        good.advance(len(CONTENT))
        deadline = time.monotonic() + 20
        while good._position < len(CONTENT):  # hashed by nobody else
            assert time.monotonic() < deadline
            time.sleep(0.01)
        with pytest.raises(OSError, match="Bad file descriptor"):
            bad.finish()
        assert good.finish()["sha256"] == sha256(CONTENT)
    finally:
        bad.stop()
        good.stop()
        threads.close()
        os.close(cannot)
        os.close(can)
