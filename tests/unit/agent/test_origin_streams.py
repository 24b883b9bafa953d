"""How many leases are read at a time: one where that is fast, several elsewhere."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue

import pytest

from modeldist.agent.origin_reads import LeaseCallbacks, LeaseRead, OriginReads
from modeldist.agent.reader_pool import ReaderPool
from modeldist.agent.shard_fetch import ShardFetch
from modeldist.agent.store import Store
from modeldist.agent.verify import Verifier
from modeldist.artifact import Artifact, ArtifactFile, Digest, Shard
from modeldist.origins.base import OnBytes
from modeldist.scheduler.messages import Priority
from modeldist.scheduler.pieces import PieceSet

MIB = 1 << 20
SIZE = 8 * MIB
ENOUGH = 100e6  # bytes/s
PATIENCE = 20.0  # seconds


class Origin:
    """Every read says that it began, and moves on when told to."""

    def __init__(self) -> None:
        self.began: SimpleQueue[int] = SimpleQueue()
        self.go = threading.Semaphore(0)

    def reader(self, artifact: Artifact) -> Origin:
        return self

    def read(self, shard: Digest, start: int, length: int, fd: int, offset: int, on_bytes: OnBytes) -> None:
        self.began.put(start // MIB)
        assert self.go.acquire(timeout=PATIENCE)
        on_bytes(length)

    def ahead(self, shard: Digest, start: int, length: int) -> None:
        pass

    def close(self) -> None:
        pass

    def next(self) -> int:
        return self.began.get(timeout=PATIENCE)


class Reads:
    """One shard of 8 MiB, whose leases are of 1 MiB."""

    def __init__(self, store: Store, enough: float | None) -> None:
        self.now = 0.0
        self.origin = Origin()
        self.ended: SimpleQueue[int] = SimpleQueue()
        self.verifier = Verifier(1)
        digest = Digest(f"sha256:{1:064x}")
        file = ArtifactFile("model.safetensors", digest, SIZE, "weight")
        artifact = Artifact("o", "o", "", digest, "1" * 40, "o/m", "http", "http://o", "m", (file,))
        self.partial = store.begin(Shard(digest, SIZE), MIB)
        done = asyncio.get_running_loop().create_future()
        self.fetch = ShardFetch(Shard(digest, SIZE), artifact, file.path, self.partial, Priority.PULL, done, 0)
        callbacks = LeaseCallbacks(lambda read, piece: None, self._ended)
        self.reads = OriginReads(
            ReaderPool(self.origin), self.verifier, 4, callbacks, enough=enough, clock=lambda: self.now
        )

    def _ended(self, reads: Sequence[LeaseRead]) -> None:
        for read in reads:
            self.ended.put(read.lease)

    def start(self, *leases: int) -> None:
        for lease in leases:
            self.reads.start(self.fetch, lease, PieceSet.of((lease,)))

    def close(self) -> None:
        self.origin.go.release(100)
        self.reads.close()
        self.verifier.close()
        self.partial.discard()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with_store = Store.open(tmp_path)
    yield with_store
    with_store.close()


async def test_without_a_limit_all_are_read_at_once(store: Store) -> None:
    reads = Reads(store, None)
    reads.start(0, 1, 2, 3)
    assert {reads.origin.next() for _ in range(4)} == {0, 1, 2, 3}
    reads.close()


async def test_a_fast_stream_stays_alone_and_in_order(store: Store) -> None:
    reads = Reads(store, ENOUGH)
    reads.start(0, 1, 2, 3)
    for lease in range(4):
        assert reads.origin.next() == lease
        assert reads.origin.began.empty()
        reads.now += 0.01  # 1 MiB in 10 ms
        reads.origin.go.release()
        reads.reads.tick()
    assert sorted(reads.ended.get(timeout=PATIENCE) for _ in range(4)) == [0, 1, 2, 3]
    reads.close()


async def test_beside_a_slow_stream_the_others_begin(store: Store) -> None:
    reads = Reads(store, ENOUGH)
    reads.start(0, 1, 2, 3)
    assert reads.origin.next() == 0
    reads.now += 0.1
    reads.reads.tick()
    assert {reads.origin.next() for _ in range(3)} == {1, 2, 3}
    reads.start(4)
    assert reads.origin.next() == 4
    reads.close()


async def test_what_waits_can_be_stopped(store: Store) -> None:
    reads = Reads(store, ENOUGH)
    reads.start(0, 1)
    assert reads.origin.next() == 0
    reads.reads.stop(reads.fetch.shard.digest, 1)
    assert reads.ended.get(timeout=PATIENCE) == 1
    reads.close()
    assert reads.origin.began.empty()
