"""Which small shards are read when: one thread or several, at once or after large ones."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from modeldist.agent.asleep import Asleep
from modeldist.agent.config import EngineConfig
from modeldist.agent.node import Loop, Node
from modeldist.agent.progress import ShardProgress
from modeldist.agent.reader_pool import ReaderPool
from modeldist.agent.store import Store
from modeldist.agent.whole_reads import WholeReads
from modeldist.artifact import Artifact, ArtifactFile, Digest
from modeldist.origins.base import OnBytes
from modeldist.transfer.rate_limit import RateLimit
from tests.servers.engine_cluster import until

LAST = 1000  # shards that can wait
PATIENCE = 20.0  # seconds


class Slept(Asleep):
    """As long as the test says."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    def since(self) -> float:
        return self._seconds


class Origin:
    """Every read counts, and goes on when told to."""

    def __init__(self) -> None:
        self.read_so_far = 0
        self.at_once = 0
        self.asked_ahead: list[Digest] = []
        self.read_in_turn: list[Digest] = []
        self.go = threading.Semaphore(0)
        self._lock = threading.Lock()

    def reader(self, artifact: Artifact) -> Origin:
        return self

    def read(self, shard: Digest, start: int, length: int, fd: int, offset: int, on_bytes: OnBytes) -> None:
        with self._lock:
            self.at_once += 1
        assert self.go.acquire(timeout=PATIENCE)
        with self._lock:
            self.at_once -= 1
            self.read_so_far += 1
            self.read_in_turn.append(shard)
        os.pwrite(fd, BODIES[shard], 0)
        on_bytes(length)

    def ahead(self, shard: Digest, start: int, length: int) -> None:
        self.asked_ahead.append(shard)

    def close(self) -> None:
        pass


def _body(number: int) -> bytes:
    return b"%d" % number


BODIES = {Digest(f"sha256:{hashlib.sha256(_body(n)).hexdigest()}"): _body(n) for n in range(LAST + 100)}


class Reads:
    """Of a model of `count` files, by a node whose reading threads slept `seconds` whenever that is asked."""

    def __init__(self, store: Store, count: int, *, seconds: float = 0.0) -> None:
        self.now = 0.0
        self.origin = Origin()
        self.told: list[ShardProgress] = []
        loop = Loop()
        loop.start()
        nobody: Callable[[object], None] = lambda _: None  # noqa: E731
        node = Node(store, EngineConfig(alone=True), loop, nobody, nobody, lambda _: ())
        self.reads = WholeReads(
            node,
            ReaderPool(self.origin),
            4,
            RateLimit(None, lambda: self.now),
            lambda: self.now,
            lambda: Slept(seconds),
        )
        files = [ArtifactFile(str(n), digest, len(BODIES[digest])) for n, digest in enumerate(list(BODIES)[:count])]
        digest = Digest(f"sha256:{1:064x}")
        artifact = Artifact("o", "o", "", digest, "1" * 40, "o/m", "http", "http://o", "m", tuple(files))
        ended: Callable[[ShardProgress, list[str]], None] = lambda progress, _: self.told.append(progress)  # noqa: E731
        self.task = asyncio.create_task(self.reads.fetch(artifact, artifact.shards, ended))

    async def read(self, count: int) -> None:
        self.origin.go.release(count)
        await until(lambda: self.origin.read_so_far == count and self.origin.at_once > 0)

    def tick(self, *, give_way: bool) -> None:
        self.now += 0.1
        self.reads.tick(give_way=give_way)

    async def close(self) -> None:
        self.origin.go.release(len(BODIES))
        await self.task
        await asyncio.to_thread(self.reads.close)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = Store.open(tmp_path)
    yield opened
    opened.close()


async def test_the_last_ones_wait_for_large_shards(store: Store) -> None:
    reads = Reads(store, LAST + 100)
    await reads.read(10)
    reads.tick(give_way=True)
    reads.origin.go.release(len(BODIES))
    await until(lambda: len(reads.told) == 100)
    reads.tick(give_way=True)
    assert reads.origin.read_so_far == 100
    reads.reads.go_on()
    await reads.close()
    assert len(reads.told) == LAST + 100


async def test_they_go_on_when_large_shards_come_slowly(store: Store) -> None:
    reads = Reads(store, 100)
    await reads.read(10)
    reads.tick(give_way=True)
    reads.origin.go.release(2)
    await until(lambda: len(reads.told) == 12)
    reads.tick(give_way=False)
    await reads.close()
    assert len(reads.told) == 100


async def test_where_the_origin_is_waited_for_they_never_wait_and_several_are_read(store: Store) -> None:
    reads = Reads(store, 100, seconds=5.0)
    await reads.read(10)
    reads.tick(give_way=True)
    await until(lambda: reads.origin.at_once == 4)
    await reads.close()
    assert len(reads.told) == 100


async def test_a_pull_that_stops_while_they_wait(store: Store) -> None:
    reads = Reads(store, 100)
    await reads.read(10)
    reads.tick(give_way=True)
    reads.origin.go.release(2)
    await until(lambda: len(reads.told) == 12)
    reads.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reads.task
    await asyncio.to_thread(reads.reads.close)
    assert reads.origin.read_so_far == 12


async def test_what_is_asked_ahead_is_read_next(store: Store) -> None:
    reads = Reads(store, 100)
    await reads.close()
    asked = set(reads.origin.asked_ahead)
    assert len(asked) == len(reads.origin.asked_ahead) > 90
    assert [shard for shard in reads.origin.read_in_turn if shard in asked] == reads.origin.asked_ahead


async def test_several_threads_ask_for_no_more_than_each_reads(store: Store) -> None:
    reads = Reads(store, 200, seconds=5.0)
    await reads.read(10)
    reads.tick(give_way=False)
    await until(lambda: reads.origin.at_once == 4)
    before = len(reads.origin.asked_ahead)
    await reads.close()
    assert len(reads.told) == 200
    assert len(reads.origin.asked_ahead) == before


def test_a_thread_that_waits_is_asleep() -> None:
    end = threading.Event()
    thread = threading.Thread(target=end.wait, args=(PATIENCE,))
    thread.start()
    assert thread.native_id is not None
    asleep = Asleep()
    asleep.begun(thread.native_id)
    slept = 0.0
    while slept < 0.1:
        slept += asleep.since()
    asleep.ended(thread.native_id)
    end.set()
    thread.join()
    assert asleep.since() == 0.0
