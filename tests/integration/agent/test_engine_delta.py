"""A new version of a model on nodes that have another one: what is here is not fetched again, but proven."""

from __future__ import annotations

import asyncio
import os
import random
from array import array
from pathlib import Path

import pytest
from msgspec.structs import replace

from modeldist.agent.progress import PullSnapshot
from modeldist.artifact import Artifact
from modelpack.chunk_index import BlobCuts, ChunkIndex, Cuts
from tests.servers.engine_cluster import MIB, REFERENCE, EngineCluster, EngineNode, assert_right
from tests.servers.memory_origin import index_of, sha256

NAME = "model.safetensors"
SIZE = 8 * MIB
SECOND = "memory://org/model:v2"
CHANGED = SIZE // 20
OLD = random.Random(1).randbytes(SIZE)


def new_bytes(size: int, seed: int = 2) -> bytes:
    return random.Random(seed).randbytes(size)


def in_one_place(old: bytes) -> bytes:
    return old[: 3 * MIB] + new_bytes(CHANGED) + old[3 * MIB + CHANGED :]


def in_twelve_places(old: bytes) -> bytes:
    data = bytearray(old)
    for place in range(12):
        start = place * SIZE // 12 + 12345
        data[start : start + CHANGED // 12] = new_bytes(CHANGED // 12, place)
    return bytes(data)


def moved_by_a_longer_header(old: bytes) -> bytes:
    return new_bytes(1000, 3) + in_one_place(old)


def longer(old: bytes) -> bytes:
    return old[: 5 * MIB + 5] + new_bytes(CHANGED) + old[5 * MIB + 5 :]


def reordered(old: bytes) -> bytes:
    third = SIZE // 3 + 4321
    return old[third:] + old[:third]


def add(cluster: EngineCluster, reference: str, content: bytes, name: str = NAME) -> Artifact:
    files = {name: content, "config.json": reference.encode()}
    return cluster.origin.add(reference, files, chunks=True, index=index_of({name: content}))


def origin_bytes(cluster: EngineCluster, artifact: Artifact) -> int:
    """Of this artifact, its index included."""
    assert artifact.index is not None
    return sum(cluster.origin.bytes_read[shard.digest] for shard in (*artifact.shards, artifact.index))


def assert_counted(final: PullSnapshot, cluster: EngineCluster, artifact: Artifact) -> None:
    assert final.origin + final.peers + final.local == final.size
    assert final.origin + final.index == origin_bytes(cluster, artifact)
    assert final.reused <= final.local


async def pull_both(node: EngineNode, second: str = SECOND) -> tuple[Path, PullSnapshot]:
    await node.pull()
    return await node.pull_and_tell(second)


@pytest.mark.parametrize(
    ("change", "share"),
    [
        (in_one_place, 0.06),
        (in_twelve_places, 0.08),
        (moved_by_a_longer_header, 0.08),
        (longer, 0.075),
        (reordered, 0.025),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
async def test_a_new_version_moves_what_changed(cluster: EngineCluster, change, share: float) -> None:  # type: ignore[no-untyped-def]
    content = change(OLD)
    add(cluster, REFERENCE, OLD)
    artifact = add(cluster, SECOND, content)
    async with cluster.node("a") as node:
        path, final = await pull_both(node)
    assert (path / NAME).read_bytes() == content
    assert_counted(final, cluster, artifact)
    assert final.reused >= (1 - share) * SIZE
    assert origin_bytes(cluster, artifact) <= share * len(content)


async def test_a_swarm_that_has_the_old_version_reads_what_changed_once(cluster: EngineCluster) -> None:
    """Much of it in pieces that are here in part; a fourth node has nothing, and gets all from the others."""
    content = in_twelve_places(OLD)
    add(cluster, REFERENCE, OLD)
    artifact = add(cluster, SECOND, content)
    async with cluster.node("a") as a, cluster.node("b") as b, cluster.node("c") as c, cluster.node("new") as new:
        await asyncio.gather(a.pull(), b.pull(), c.pull())
        ends = await asyncio.gather(*(node.pull_and_tell(SECOND) for node in (a, b, c)))
        assert origin_bytes(cluster, artifact) <= 0.08 * SIZE
        assert cluster.origin.bytes_read[artifact.index.digest] == artifact.index.size  # type: ignore[union-attr]
        assert sum(final.peers for _, final in ends) > CHANGED
        path, _ = await new.pull_and_tell(SECOND)
        assert origin_bytes(cluster, artifact) <= 0.08 * SIZE
    for each in (path, *(path for path, _ in ends)):
        assert (each / NAME).read_bytes() == content


async def test_a_node_without_another_version_does_not_read_the_index(cluster: EngineCluster) -> None:
    artifact = add(cluster, REFERENCE, OLD)
    assert artifact.index is not None
    async with cluster.node("a") as node:
        await node.pull()
    assert cluster.origin.bytes_read[artifact.index.digest] == 0


async def test_what_is_wrong_in_the_old_file_is_fetched(cluster: EngineCluster) -> None:
    """Its piece's digest, or of a piece that is here in part its chunk's mark, is not that of the new version."""
    content = in_one_place(OLD)
    first = add(cluster, REFERENCE, OLD)
    artifact = add(cluster, SECOND, content)
    async with cluster.node("a") as node:
        await node.pull()
        blob = node.store.path(first.file_of(sha256(OLD)).digest)
        assert blob is not None
        blob.chmod(0o600)
        with blob.open("r+b") as file:
            for place in (1 * MIB, 3 * MIB - 5):
                file.seek(place)
                file.write(bytes([OLD[place] ^ 1]))
        path, final = await node.pull_and_tell(SECOND)
    assert (path / NAME).read_bytes() == content
    assert_counted(final, cluster, artifact)
    assert CHANGED < final.origin < CHANGED + MIB


async def test_an_old_file_that_is_cut_off(cluster: EngineCluster) -> None:
    content = in_one_place(OLD)
    add(cluster, REFERENCE, OLD)
    add(cluster, SECOND, content)
    async with cluster.node("a") as node:
        await node.pull()
        blob = node.store.path(sha256(OLD))
        assert blob is not None
        blob.chmod(0o600)
        os.truncate(blob, SIZE // 2)
        path, _ = await node.pull_and_tell(SECOND)
    assert (path / NAME).read_bytes() == content


@pytest.mark.parametrize("nodes", [1, 3])
async def test_an_index_that_lies_costs_bytes_and_nothing_else(cluster: EngineCluster, nodes: int) -> None:
    """It gives the new content the marks of the old: what is put together by it is refused, and fetched whole."""
    content = in_twelve_places(OLD)
    add(cluster, REFERENCE, OLD)
    old = index_of({NAME: OLD}).blobs[0].cuts
    changed = [number for number, mark in enumerate(old.marks) if number % 7 == 0]
    marks = array("Q", old.marks)
    for number in changed:
        marks[number] ^= 1  # those are not found, so that pieces are there in part
    index = ChunkIndex(8 * 1024, (BlobCuts(sha256(content), SIZE, Cuts(old.lengths, marks)),))
    artifact = cluster.origin.add(SECOND, {NAME: content}, chunks=True, index=index)
    async with cluster.node("a") as a, cluster.node("b") as b, cluster.node("c") as c:
        members = (a, b, c)[:nodes]
        await asyncio.gather(*(node.pull() for node in members))
        for path, final in await asyncio.gather(*(node.pull_and_tell(SECOND) for node in members)):
            assert_right(path, {NAME: content})
            assert final.origin + final.peers + final.local >= final.size
    assert cluster.origin.bytes_read[artifact.shards[0].digest] < 2 * SIZE


async def test_without_its_index_a_new_version_is_fetched_whole(cluster: EngineCluster) -> None:
    content = in_one_place(OLD)
    add(cluster, REFERENCE, OLD)
    artifact = add(cluster, SECOND, content)
    assert artifact.index is not None
    del cluster.origin.blobs[artifact.index.digest]
    async with cluster.node("a") as node:
        path, final = await pull_both(node)
    assert (path / NAME).read_bytes() == content
    assert cluster.origin.bytes_read[sha256(content)] == SIZE
    assert any("Changed files are fetched whole, without the model's chunk index" in note for note in final.notes)


async def test_an_index_that_is_none(cluster: EngineCluster) -> None:
    content = in_one_place(OLD)
    add(cluster, REFERENCE, OLD)
    artifact = add(cluster, SECOND, content)
    cluster.origin.blobs[sha256(b"{}")] = b"{}"
    assert artifact.index is not None
    cluster.origin.name(SECOND, replace(artifact, index=replace(artifact.index, digest=sha256(b"{}"), size=2)))
    async with cluster.node("a") as node:
        path, final = await pull_both(node)
    assert (path / NAME).read_bytes() == content
    assert any("chunk index is not valid" in note for note in final.notes)


async def test_the_version_after_that_needs_no_look_at_the_old_files(cluster: EngineCluster) -> None:
    """What the index said of the second version is kept with its file: the third is compared with that."""
    second = in_one_place(OLD)
    third = in_twelve_places(second)
    add(cluster, REFERENCE, OLD)
    add(cluster, SECOND, second)
    artifact = add(cluster, "memory://org/model:v3", third)
    async with cluster.node("a") as node:
        await pull_both(node)
        assert node.store.cuts.get(sha256(second), 8 * 1024) == index_of({NAME: second}).blobs[0].cuts
        path, _ = await node.pull_and_tell("memory://org/model:v3")
    assert (path / NAME).read_bytes() == third
    assert origin_bytes(cluster, artifact) <= 0.08 * SIZE


async def test_a_fine_tune_under_another_name(cluster: EngineCluster) -> None:
    content = in_one_place(OLD)
    add(cluster, REFERENCE, OLD)
    artifact = add(cluster, "memory://me/tuned:v1", content)
    async with cluster.node("a") as node:
        path, _ = await pull_both(node, "memory://me/tuned:v1")
    assert (path / NAME).read_bytes() == content
    assert origin_bytes(cluster, artifact) <= 0.08 * SIZE


async def test_a_file_of_a_model_that_only_looks_alike_is_not_read_to_its_end(cluster: EngineCluster) -> None:
    content = new_bytes(SIZE, 9)
    add(cluster, REFERENCE, OLD)
    artifact = add(cluster, "memory://else/model:v1", content)
    async with cluster.node("a") as node:
        path, final = await pull_both(node, "memory://else/model:v1")
        assert node.store.cuts.get(sha256(OLD), 8 * 1024) is None
    assert (path / NAME).read_bytes() == content
    assert_counted(final, cluster, artifact)
    assert final.reused == 0


async def test_a_part_of_the_new_version_takes_its_part_of_the_old(cluster: EngineCluster) -> None:
    content = in_one_place(OLD)
    add(cluster, REFERENCE, OLD)
    whole = add(cluster, SECOND, content)
    part = cluster.origin.add_part("memory://org/model:part", whole, {NAME: ((2 * MIB, 6 * MIB),)})
    async with cluster.node("a") as node:
        path, final = await pull_both(node, "memory://org/model:part")
        assert (path / NAME).read_bytes()[2 * MIB : 6 * MIB] == content[2 * MIB : 6 * MIB]
        assert final.size == 4 * MIB
        assert_counted(final, cluster, part)
        assert final.origin < 1.2 * CHANGED
        path, final = await node.pull_and_tell(SECOND)
    assert (path / NAME).read_bytes() == content
    assert origin_bytes(cluster, whole) < 0.08 * SIZE


async def test_a_part_of_the_old_version_gives_what_it_has(cluster: EngineCluster) -> None:
    """To the same part of the new version, which lies elsewhere, and then to all of it."""
    content = longer(OLD)
    old = add(cluster, REFERENCE, OLD)
    whole = add(cluster, SECOND, content)
    wanted = {NAME: ((2 * MIB, 6 * MIB),)}
    cluster.origin.add_part("memory://org/model:old-part", old, wanted)
    part = cluster.origin.add_part("memory://org/model:part", whole, wanted)
    async with cluster.node("a") as node:
        await node.pull("memory://org/model:old-part")
        path, final = await node.pull_and_tell("memory://org/model:part")
        assert (path / NAME).read_bytes()[2 * MIB : 6 * MIB] == content[2 * MIB : 6 * MIB]
        assert_counted(final, cluster, part)
        assert final.origin < 1.2 * CHANGED
        path, final = await node.pull_and_tell(SECOND)
    assert (path / NAME).read_bytes() == content
    assert final.origin < len(content) - 4 * MIB + 0.1 * MIB


async def test_a_pull_that_is_stopped_goes_on_where_it_was(cluster: EngineCluster) -> None:
    content = in_twelve_places(OLD)
    add(cluster, REFERENCE, OLD)
    artifact = add(cluster, SECOND, content)
    async with cluster.node("a") as node:
        await node.pull()
        begun = asyncio.get_running_loop().create_future()
        loop = asyncio.get_running_loop()

        def hold(shard: str, position: int) -> None:
            if shard == sha256(content) and position > SIZE // 2:
                loop.call_soon_threadsafe(lambda: begun.done() or begun.set_result(None))

        cluster.origin.before_chunk = hold
        pull = node.pulls.start(SECOND)
        ending = asyncio.ensure_future(node.pulls.wait(pull))
        await asyncio.wait({begun, ending}, return_when=asyncio.FIRST_COMPLETED)
        node.pulls.cancel(pull.id)
        await asyncio.gather(ending, return_exceptions=True)
        path, _ = await node.pull_and_tell(SECOND)
    assert (path / NAME).read_bytes() == content
    assert origin_bytes(cluster, artifact) <= 0.16 * SIZE
