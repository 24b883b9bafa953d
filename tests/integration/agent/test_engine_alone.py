"""A node alone: small shards are read whole, many by one thread. Each arrives, or its failure is told as its own."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

import pytest

from modeldist.agent.config import EngineConfig
from modeldist.agent.progress import PullSnapshot
from modeldist.artifact import Digest
from modeldist.control.inprocess import InProcessControl
from modeldist.errors import Cancelled, IntegrityError, NotFound, StorageError
from modeldist.scheduler.alone import Alone
from tests.servers.engine_cluster import MIB, REFERENCE, EngineCluster, EngineNode, assert_right, model, until

SMALL = [1000 + number for number in range(150)]
CONFIG = EngineConfig(origin_failures=1, alone=True)
PATIENCE = 20.0  # seconds


@pytest.fixture
def alone(cluster: EngineCluster) -> EngineCluster:
    cluster.control = InProcessControl(cluster.origin, time.monotonic, scheduler=Alone())
    return cluster


def node(cluster: EngineCluster, **limits: float) -> AbstractAsyncContextManager[EngineNode]:
    return cluster.node("a", config=replace(CONFIG, **limits))  # type: ignore[arg-type]


def left_behind(one: EngineNode) -> list[str]:
    return [path.name for folder in ("partial", "tmp") for path in (one.store.root / folder).iterdir()]


def told(one: EngineNode) -> PullSnapshot:
    return one.pulls.all()[-1].snapshot()


async def test_all_arrive_and_are_read_once(alone: EngineCluster) -> None:
    files = model(2 * MIB, 300_000, 0, *SMALL)
    artifact = alone.origin.add(REFERENCE, files)
    async with node(alone) as one:
        assert_right(await one.pull(), files)
        assert left_behind(one) == []
        snapshot = told(one)
    alone.assert_read_once(artifact)
    assert (snapshot.origin, snapshot.local, snapshot.done) == (artifact.size, 0, artifact.size)
    assert all(row.complete and row.origin == row.size for row in snapshot.shards)


async def test_what_is_here_is_not_read(alone: EngineCluster) -> None:
    files = model(*SMALL)
    artifact = alone.origin.add(REFERENCE, files)
    async with node(alone) as one:
        here = [one.store.put_bytes(body) for body in list(files.values())[:10]]
        assert_right(await one.pull(), files)
        assert told(one).local == sum(file.size for file in artifact.files if file.digest in here)
    assert not any(alone.origin.bytes_read[digest] for digest in here)


async def test_one_that_the_origin_does_not_have(alone: EngineCluster) -> None:
    files = model(*SMALL)
    artifact = alone.origin.add(REFERENCE, files)
    unlucky = artifact.files[50]
    gone = alone.origin.blobs.pop(unlucky.digest)
    async with node(alone) as one:
        with pytest.raises(NotFound) as failure:
            await one.pull()
        assert unlucky.path in str(failure.value)
        assert any(unlucky.digest in note for note in told(one).notes)
        assert left_behind(one) == []
        kept = {file.digest: file.size for file in artifact.files if one.store.has(file.digest)}
        assert kept
        assert unlucky.digest not in kept
        assert told(one).kept == sum(kept.values())
        alone.origin.blobs[unlucky.digest] = gone
        assert_right(await one.pull(), files)
        assert {digest: alone.origin.bytes_read[digest] for digest in kept} == kept, "what was kept is not read again"


async def test_one_that_is_not_what_the_origin_says(alone: EngineCluster) -> None:
    files = model(*SMALL)
    artifact = alone.origin.add(REFERENCE, files)
    unlucky = artifact.files[50]
    right = alone.origin.blobs[unlucky.digest]
    alone.origin.blobs[unlucky.digest] = bytes(len(right))
    async with node(alone) as one:
        with pytest.raises(IntegrityError) as failure:
            await one.pull()
        assert unlucky.path in str(failure.value)
        assert artifact.name in str(failure.value)
        assert not one.store.has(unlucky.digest)
        assert told(one).origin >= unlucky.size, "wrong bytes were read all the same"
        alone.origin.blobs[unlucky.digest] = right
        assert_right(await one.pull(), files)


async def test_one_that_cannot_be_stored(alone: EngineCluster) -> None:
    files = model(*SMALL)
    artifact = alone.origin.add(REFERENCE, files)
    value = artifact.files[50].digest.partition(":")[2]
    async with node(alone) as one:
        folder = one.store.root / "blobs" / "sha256" / value[:2]
        folder.write_text("in the way")
        with pytest.raises(StorageError):
            await one.pull()
        assert left_behind(one) == []
        folder.unlink()
        assert_right(await one.pull(), files)


async def test_a_large_one_that_fails_stops_the_small_ones(alone: EngineCluster) -> None:
    files = model(2 * MIB, *SMALL)
    artifact = alone.origin.add(REFERENCE, files)
    large = next(file for file in artifact.files if file.size == 2 * MIB)
    del alone.origin.blobs[large.digest]
    alone.origin.before_chunk = lambda shard, position: time.sleep(0.02)
    async with node(alone) as one:
        with pytest.raises(NotFound, match=large.path):
            await one.pull()
        assert left_behind(one) == []
        read = alone.origin.bytes_read.total()
        await asyncio.sleep(0.1)
        assert alone.origin.bytes_read.total() == read, "nothing is read any more"


async def test_a_pull_is_stopped_while_the_origin_is_waited_for(alone: EngineCluster) -> None:
    files = model(*SMALL)
    artifact = alone.origin.add(REFERENCE, files)
    async with node(alone) as one:

        def back_off(shard: Digest, position: int) -> None:
            alone.origin.backs_off = sum(map(bool, alone.origin.bytes_read.values())) >= 20

        alone.origin.before_chunk = back_off
        pull = one.pulls.start(REFERENCE)
        await until(lambda: alone.origin.backs_off)
        one.pulls.cancel(pull.id)
        with pytest.raises(Cancelled):
            await one.pulls.wait(pull)
        assert left_behind(one) == []
        kept = {file.digest: file.size for file in artifact.files if one.store.has(file.digest)}
        assert len(kept) >= 20
        alone.origin.backs_off = False
        alone.origin.before_chunk = lambda shard, position: None
        assert_right(await one.pull(), files)
    alone.assert_read_once(artifact)


async def test_what_is_read_shows_before_it_is_published(alone: EngineCluster) -> None:
    files = model(*SMALL[:10])
    artifact = alone.origin.add(REFERENCE, files)
    hold, held = threading.Event(), threading.Event()
    last = artifact.files[-1]

    def stall(shard: Digest, position: int) -> None:
        if shard == last.digest:
            held.set()
            assert hold.wait(PATIENCE)

    alone.origin.before_chunk = stall
    async with node(alone) as one:
        pull = one.pulls.start(REFERENCE)
        await until(held.is_set)
        await until(lambda: pull.snapshot().origin == artifact.size - last.size)
        hold.set()
        assert_right(await one.pulls.wait(pull), files)


async def test_an_origin_that_is_waited_for_is_asked_several_things_at_a_time(alone: EngineCluster) -> None:
    files = model(*SMALL)
    artifact = alone.origin.add(REFERENCE, files)
    together = threading.Barrier(4)
    met = threading.Event()

    def meet(shard: Digest, position: int) -> None:
        if not met.is_set():
            together.wait(PATIENCE)
            met.set()

    alone.origin.before_chunk = meet
    async with node(alone, origin_streams=4) as one:
        assert_right(await one.pull(), files)
    alone.assert_read_once(artifact)


async def test_two_pulls_of_the_same_read_once(alone: EngineCluster) -> None:
    files = model(2 * MIB, *SMALL)
    artifact = alone.origin.add(REFERENCE, files)
    again = "memory://org/model:v2"
    alone.origin.add(again, files)
    alone.origin.before_chunk = lambda shard, position: time.sleep(0.001)
    async with node(alone) as one:
        paths = await asyncio.gather(one.pull(), one.pull(again))
        for path in paths:
            assert_right(path, files)
    alone.assert_read_once(artifact)


async def test_a_node_that_stops_ends_what_it_reads(alone: EngineCluster) -> None:
    files = model(*SMALL)
    alone.origin.add(REFERENCE, files)
    async with node(alone) as one:
        alone.origin.backs_off = True
        pull = one.pulls.start(REFERENCE)
        await until(lambda: pull.state == "pulling")
    assert pull.state == "cancelled"
    assert not left_behind(one)
