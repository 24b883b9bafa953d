"""What a disk damages in the background is found, withdrawn and brought again; models go for others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from modeldist.agent.repairing import Repair, Repairs
from modeldist.agent.scrubbing import Pace, Scrub
from modeldist.agent.store import Store
from modeldist.agent.store.watermarks import Watermarks
from tests.servers.engine_cluster import MIB, REFERENCE, EngineCluster, EngineNode, assert_right, model, until

DAY = 86_400.0


def flip(path: Path, at: int = 0) -> None:
    """One byte becomes another, as a bad disk would have it."""
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(at)
        first = file.read(1)
        file.seek(at)
        file.write(bytes([first[0] ^ 1]))
    path.chmod(0o444)


class Time:
    """A day has passed whenever somebody asks."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        self.now += DAY
        return self.now


@asynccontextmanager
async def scrubbing(node: EngineNode, *, busy: Callable[[], bool] = lambda: False) -> AsyncIterator[Scrub]:
    """As an agent does it, but round after round."""
    mending = Repairs(node.engine, node.pulls)
    loop = node.engine.node.loop
    scrub = Scrub(node.store, Pace(DAY), busy, lambda: loop.post(mending.wake), Time())
    loop.spawn(mending.run(), "repairs")
    scrub.start()
    try:
        yield scrub
    finally:
        await asyncio.to_thread(scrub.close)


def repairs(node: EngineNode) -> list[Repair]:
    return [pull for pull in node.pulls.all() if isinstance(pull, Repair)]


async def test_damage_is_withdrawn_and_brought_again_by_peers(cluster: EngineCluster) -> None:
    files = model(3 * MIB, 300_000)
    artifact = cluster.origin.add(REFERENCE, files)
    async with cluster.node("one") as one, cluster.node("two") as two:
        await one.pull()
        snapshot = await two.pull()
        path = two.store.path(artifact.shards[0].digest)
        assert path is not None
        with path.open("rb") as reader:
            flip(path, 2 * MIB)
            async with scrubbing(two):
                await until(lambda: bool(repairs(two)))
                await until(lambda: not two.store.scrubber.round.wanting)
            assert len(reader.read()) == 3 * MIB, "who has it open keeps it"
        assert_right(snapshot, files)
        assert two.store.snapshot(artifact) == snapshot
        assert [stored.references for stored in two.store.artifacts()] == [(REFERENCE,)]
        (repair,) = repairs(two)
        assert "damaged on this node" in " ".join(repair.snapshot().notes)
        assert repair.snapshot().peers == 3 * MIB
        cluster.assert_read_once(artifact)


async def test_a_round_goes_on_where_it_was_after_a_restart(cluster: EngineCluster) -> None:
    files = model(*[200_000] * 5)
    cluster.origin.add(REFERENCE, files)
    async with cluster.node("one") as one:
        await one.pull()
        scrubber = one.store.scrubber
        left = [target.digest for target in scrubber.left()]
        assert len(left) == 5
        scrub = Scrub(one.store, Pace(DAY), lambda: scrubber.round.shards == 2, lambda: None, Time())
        scrub.start()
        await until(lambda: scrub.status().waiting)
        await asyncio.to_thread(scrub.close)
    again = Store.open(cluster.home / "one")
    assert [target.digest for target in again.scrubber.left()] == left[2:]
    assert (again.scrubber.round.shards, again.scrubber.round.bytes) == (2, 400_000)
    assert again.scrubber.round.running
    again.close()


async def test_it_waits_while_the_node_is_busy(cluster: EngineCluster) -> None:
    cluster.origin.add(REFERENCE, model(MIB))
    async with cluster.node("one") as one:
        await one.pull()
        busy = [True]
        async with scrubbing(one, busy=lambda: busy[0]) as scrub:
            await until(lambda: scrub.status().waiting)
            assert one.store.scrubber.round.bytes == 0
            busy[0] = False  # at once: the scrubber looks from a thread of its own
            await until(lambda: one.store.scrubber.round.bytes >= MIB)  # the next round may begin at any time


async def test_what_was_not_repaired_is_after_a_restart(cluster: EngineCluster) -> None:
    """With the origin away and no peer, it stays wanting."""
    files = model(2 * MIB)
    artifact = cluster.origin.add(REFERENCE, files)
    async with cluster.node("one") as one:
        await one.pull()
        path = one.store.path(artifact.shards[0].digest)
        assert path is not None
        flip(path)
        scrub = Scrub(one.store, Pace(DAY), lambda: False, lambda: None, Time())  # nobody repairs
        scrub.start()
        await until(lambda: bool(one.store.scrubber.round.wanting) and not path.exists())
        await asyncio.to_thread(scrub.close)
        assert one.store.snapshot(artifact) is None
    async with cluster.node("one") as one:
        assert one.store.scrubber.round.wanting == (artifact.digest,)
        async with scrubbing(one):
            await until(lambda: not one.store.scrubber.round.wanting)
        assert one.store.snapshot(artifact) is not None


async def test_a_shard_that_is_here_in_part_is_read_too(cluster: EngineCluster) -> None:
    files = model(8 * MIB)
    whole = cluster.origin.add(REFERENCE, files, chunks=True)
    part = cluster.origin.add_part(
        "memory://org/model:part", whole, {next(iter(files)): ((0, 10), (5 * MIB, 5 * MIB + 10))}
    )
    async with cluster.node("one") as one:
        snapshot = await one.pull("memory://org/model:part")
        (name,) = files
        sparse = one.store.sparse(part.shards[0].digest)
        assert sparse is not None
        flip(sparse.path, 5)
        async with scrubbing(one):
            await until(lambda: bool(repairs(one)))
            await until(lambda: not one.store.scrubber.round.wanting)
        assert one.store.snapshot(part) == snapshot
        assert (snapshot / name).read_bytes()[:10] == files[name][:10]


async def test_a_model_goes_for_another_and_everybody_is_told(cluster: EngineCluster) -> None:
    old = cluster.origin.add("memory://org/old:v1", model(2 * MIB))
    new = cluster.origin.add("memory://org/new:v1", model(2 * MIB))
    async with cluster.node("one") as one, cluster.node("two") as two:
        one.store.watermarks = Watermarks(3 * MIB, 2.5 * MIB, of_disk=False)
        await one.pull("memory://org/old:v1")
        path, told = await one.pull_and_tell("memory://org/new:v1")
        assert path.is_dir()
        assert any(note.startswith("memory://org/old:v1 was evicted (2,") for note in told.notes), told.notes
        assert not one.store.has(old.shards[0].digest)
        await two.pull("memory://org/old:v1")
        assert cluster.origin.bytes_read[old.shards[0].digest] == 2 * old.shards[0].size, "nobody offers it"
        await two.pull("memory://org/new:v1")
        cluster.assert_read_once(new)
