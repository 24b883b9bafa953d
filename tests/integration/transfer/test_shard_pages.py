"""Shards on tmpfs are exposed where they lie: their pages are registered, within the memory given for it, and no slot
is used; what cannot be registered is copied as before."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from modeldist.agent.store import Store
from modeldist.scheduler.pieces import PieceSet
from modeldist.transfer.base import OpenShard, Received
from modeldist.transfer.verbs import in_memory
from modeldist.transfer.verbs.shard_pages import KEEP, NotInPlace, PagesPart, ShardPages
from rdma import AccessRefused
from rdma.double import MemoryDevice, MemoryFabric
from tests.integration.store.made_models import receive, shard_of
from tests.unit.transfer.lanes_world import LanesWorld, Node, lanes_world
from tests.unit.transfer.shelf import Child, until
from tests.unit.transfer.transport_conformance import MIB
from tests.verbs.conformance import connect, content, read

SLOT = 65536
CHUNK = 4 * SLOT
CONTENT = os.urandom(3 * MIB + 4321)


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder on tmpfs."""
    shm = Path("/dev/shm")
    if not in_memory(shm):
        pytest.skip("/dev/shm is not on tmpfs here")
    with tempfile.TemporaryDirectory(dir=shm, prefix="modeldist-test-") as folder:
        yield Path(folder)


def mapped(under: Path) -> int:
    """Bytes of files under a path that this process maps."""
    lines = [line for line in Path("/proc/self/maps").read_text().splitlines() if str(under) in line]
    ends = [line.split()[0].split("-") for line in lines]
    return sum(int(end, 16) - int(start, 16) for start, end in ends)


class Pages:
    """Of a shard in memory, on a device for two chunks; `now` moves the clock."""

    def __init__(self, folder: Path, *, chunks: int = 2) -> None:
        self.fabric = MemoryFabric()
        self.device = self.fabric.device("parent0")
        self.now = 0.0
        self.pages = ShardPages(self.device, memory=chunks * CHUNK, slot=SLOT, parts=8, clock=lambda: self.now)
        self.path = folder / "shard"
        self.path.write_bytes(CONTENT)
        self.fd = os.open(self.path, os.O_RDONLY)

    def take(self, start: int, most: int = SLOT) -> PagesPart:
        part = self.pages.take(self.fd, start, most)
        assert part is not None
        return part

    def bytes_of(self, part: PagesPart) -> bytes:
        assert part.memory.view is not None
        return bytes(part.memory.view[part.offset : part.offset + part.length])

    def mapped(self) -> int:
        """Bytes of the shard that this process maps."""
        return mapped(self.path)

    def close(self) -> None:
        os.close(self.fd)
        self.device.close()
        self.pages.close()


@pytest.fixture
def pages(memory: Path) -> Iterator[Pages]:
    made = Pages(memory)
    yield made
    made.close()


def test_parts_are_where_the_shard_lies(pages: Pages) -> None:
    start = 0
    while start < len(CONTENT):
        part = pages.take(start, len(CONTENT) - start)
        assert pages.bytes_of(part) == CONTENT[start : start + part.length]
        assert 0 < part.length <= SLOT
        start += part.length
        part.release()
        assert pages.device.locked <= 2 * CHUNK


def test_a_part_ends_with_its_chunk(pages: Pages) -> None:
    assert pages.take(CHUNK - 100).length == 100
    assert pages.take(CHUNK).length == SLOT


def test_nothing_behind_the_end_is_registered(pages: Pages) -> None:
    last = len(CONTENT) // CHUNK * CHUNK
    part = pages.take(last, len(CONTENT) - last)
    assert pages.device.locked == len(CONTENT) - last
    assert pages.bytes_of(part) == CONTENT[last : last + part.length]
    with pytest.raises(NotInPlace):
        pages.take(len(CONTENT) - 10, 11)


def test_a_chunk_is_registered_once(pages: Pages) -> None:
    parts = [pages.take(number * SLOT) for number in range(4)]
    assert len({id(part.memory) for part in parts}) == 1
    assert pages.device.locked == CHUNK


def test_threads_that_come_to_a_chunk_at_once(pages: Pages) -> None:
    with ThreadPoolExecutor(8) as threads:
        for start in range(0, len(CONTENT) - CHUNK, CHUNK):
            parts = list(threads.map(lambda _, start=start: pages.take(start), range(8)))
            assert {pages.bytes_of(part) for part in parts} == {CONTENT[start : start + SLOT]}
            assert len({id(part.memory) for part in parts}) == 1
            for part in parts:
                part.release()
            assert pages.device.locked <= 2 * CHUNK


def test_chunks_in_use_stay(pages: Pages) -> None:
    one, two = pages.take(0), pages.take(CHUNK)
    with pytest.raises(NotInPlace):  # no room, but there may be a slot
        pages.take(2 * CHUNK)
    assert pages.bytes_of(one) == CONTENT[:SLOT]
    two.release()
    del two
    pages.take(2 * CHUNK)
    assert pages.bytes_of(one) == CONTENT[:SLOT]
    assert pages.device.locked == pages.mapped() == 2 * CHUNK


def test_there_is_credit_for_so_many_parts_and_no_more(pages: Pages) -> None:
    parts = [pages.take(0) for _ in range(8)]
    assert pages.pages.take(pages.fd, 0, SLOT) is None
    parts[0].release()
    pages.take(0)


def test_unused_chunks_are_let_go_of(pages: Pages) -> None:
    used, unused = pages.take(0), pages.take(CHUNK)
    unused.release()
    pages.path.unlink()
    pages.now += KEEP - 1
    pages.pages.let_go_of_unused()
    assert pages.device.locked == 2 * CHUNK
    del unused
    pages.now += 1
    pages.pages.let_go_of_unused()
    assert pages.device.locked == pages.mapped() == CHUNK
    assert pages.bytes_of(used) == CONTENT[:SLOT]


def test_a_partial_shard_is_seen_as_it_comes(memory: Path, pages: Pages) -> None:
    path = memory / "partial"
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    os.ftruncate(fd, CHUNK)
    os.pwrite(fd, CONTENT[:SLOT], 0)
    first = pages.pages.take(fd, 0, SLOT)
    assert first is not None
    os.pwrite(fd, CONTENT[SLOT : 2 * SLOT], SLOT)
    path.rename(memory / "published")
    second = pages.pages.take(fd, SLOT, SLOT)
    os.close(fd)
    assert second is not None
    assert pages.bytes_of(first) + pages.bytes_of(second) == CONTENT[: 2 * SLOT]


def test_a_shard_of_the_store_as_it_is_pulled_and_published(memory: Path, pages: Pages) -> None:
    shard = shard_of(CONTENT)

    def parts(opened: OpenShard, pieces: PieceSet) -> bool:
        """Whether the pieces are right where they lie."""
        for piece in pieces:
            start, length = opened.layout.offset(piece), opened.layout.length(piece)
            part = pages.pages.take(opened.fd, start, length)
            assert part is not None
            right = part.length == length and pages.bytes_of(part) == CONTENT[start : start + length]
            part.release()
            if not right:
                return False
        return True

    store = Store.open(memory / "store")
    partial = store.begin(shard, SLOT)
    receive(partial, CONTENT, [0, 2, 5])
    opened = store.directory().open(shard.digest)
    assert opened is not None
    assert parts(opened, opened.have())
    receive(partial, CONTENT)
    assert parts(opened, opened.have())
    partial.commit()
    partial.close()
    again = store.directory().open(shard.digest)
    assert again is not None
    assert parts(again, again.layout.all)
    for each in (opened, again):
        each.close()
    store.close()


def test_a_file_that_may_not_be_written_to_is_copied(pages: Pages) -> None:
    sealed = os.memfd_create("sealed", os.MFD_ALLOW_SEALING)
    os.write(sealed, CONTENT)
    fcntl.fcntl(sealed, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
    for _ in range(9):  # more often than there is credit
        with pytest.raises(NotInPlace):
            pages.pages.take(sealed, 0, SLOT)
    os.close(sealed)
    pages.take(0)  # others are not


def test_a_file_on_a_disk_is_copied(tmp_path: Path) -> None:
    if in_memory(tmp_path):
        pytest.skip("the folder for tests is on tmpfs here")
    pages = Pages(tmp_path)
    with pytest.raises(NotInPlace):
        pages.take(0)
    assert not pages.device.locked
    pages.close()


def test_a_refusal_is_said_once(pages: Pages, caplog: pytest.LogCaptureFixture) -> None:
    pages.device.lockable = CHUNK
    kept = pages.take(0)
    for _ in range(3):
        with pytest.raises(NotInPlace):
            pages.take(CHUNK)
    assert len([record for record in caplog.records if "are copied" in record.message]) == 1
    kept.release()
    pages.now += KEEP
    pages.pages.let_go_of_unused()
    assert not pages.device.locked


def test_a_device_that_is_closed(pages: Pages) -> None:
    part = pages.take(0)
    pages.device.close()
    with pytest.raises(NotInPlace):
        pages.take(CHUNK)
    pages.pages.close()
    part.release()
    del part
    assert pages.mapped() == 0
    with pytest.raises(NotInPlace):
        pages.take(0)


def test_a_part_is_exposed_and_nothing_else(pages: Pages) -> None:
    parent, child = connect((pages.device, pages.fabric.device("child0")))
    part = pages.take(SLOT)
    exposure = parent.expose(part.memory, part.offset, part.length)
    into = pages.fabric.device("child0").allocate(SLOT)
    assert read(child, exposure.remote, into) is None
    assert content(into) == CONTENT[SLOT : 2 * SLOT]
    exposure.revoke()
    assert isinstance(read(child, exposure.remote, into), AccessRefused)


# --- over lanes ---


@pytest.fixture
def world(memory: Path) -> Iterator[LanesWorld]:
    fabric = MemoryFabric()
    yield lanes_world(memory, Node(fabric, "parent0", in_memory=True), Node(fabric, "child0"))


def parent_device(world: LanesWorld) -> MemoryDevice:
    return world.parent.devices["parent0"]


def keep_slots(world: LanesWorld) -> list[object]:
    """All slots of the parent, so that nothing can be copied."""
    serving = world.parent.rails.rails[0].serving
    return [serving.take() for _ in range(serving.slots)]


async def fetched(world: LanesWorld, children: int = 1) -> set[tuple[str, str]]:
    """By which transport, and which detour, everything came that several children asked for at the same time."""
    shard = world.shelf.add(CONTENT, MIB)
    server = world.serve()
    asked: list[tuple[Child, int]] = []
    for number in range(children):
        child = await world.child(server, f"child-{number}")
        child.hashing = True
        await child.subscribe(shard)
        asked += [
            (child, child.ask(shard, start, min(MIB, len(CONTENT) - start))) for start in range(0, len(CONTENT), MIB)
        ]
    await until(lambda: all(child.outcomes[number] for child, number in asked))
    outcomes = [child.outcomes[number][0] for child, number in asked]
    assert {hashlib.sha256(child.target.read_bytes()).digest() for child, _ in asked} == {
        hashlib.sha256(CONTENT).digest()
    }
    for outcome in outcomes:
        assert isinstance(outcome, Received)
    return {(outcome.transport, outcome.detour) for outcome in outcomes if isinstance(outcome, Received)}


async def test_a_shard_comes_without_a_slot(world: LanesWorld) -> None:
    slots = keep_slots(world)
    before = parent_device(world).locked
    assert await fetched(world) == {("rdma", "")}
    locked = parent_device(world).locked - before
    assert 0 < locked <= 12 * SLOT  # three quarters of what is to serve from
    for slot in slots:
        slot.release()  # type: ignore[attr-defined]
    await world.end()


async def test_several_children_share_the_memory(world: LanesWorld) -> None:
    assert await fetched(world, children=4) == {("rdma", "")}
    assert parent_device(world).locked <= 32 * SLOT  # all that was given, for both directions
    await world.end()


async def test_what_cannot_be_registered_is_copied(world: LanesWorld) -> None:
    parent_device(world).lockable = parent_device(world).locked
    assert await fetched(world) == {("rdma", "")}
    await world.end()


async def test_a_device_removed_in_mid_transfer(world: LanesWorld) -> None:
    device = parent_device(world)
    shard = world.shelf.add(CONTENT, MIB)
    child = await world.child(world.serve())
    await child.subscribe(shard)
    number = child.ask(shard, 0, len(CONTENT))
    world.parent.found = ()
    device.remove()
    await until(lambda: child.outcomes[number])
    number = child.ask(shard, 0, len(CONTENT))
    await until(lambda: child.outcomes[number])
    assert child.target.read_bytes() == CONTENT
    await until(lambda: not device.registered)
    await world.end()
    assert mapped(world.folder) == 0
