"""RDMA lanes beside a TCP connection, over devices in memory: the same transport to whoever uses it, and what fails on
a lane comes over the connection."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from modeldist.transfer.base import Received, Refused
from modeldist.transfer.verbs import NodeRails
from modeldist.transfer.verbs.detours import kind_of
from rdma import Rail
from rdma.double import MemoryFabric
from tests.unit.transfer.lanes_world import LanesWorld, Node, lanes_world, rail
from tests.unit.transfer.shelf import GOOD, Child, Digest, until
from tests.unit.transfer.transport_conformance import MIB, TransportConformance

CONTENT = os.urandom(8 * MIB + 4321)


@pytest.fixture
def fabric() -> MemoryFabric:
    return MemoryFabric()


class TestLanesAreATransport(TransportConformance):
    in_order = False

    @pytest.fixture
    async def world(self, tmp_path: Path, fabric: MemoryFabric) -> AsyncIterator[LanesWorld]:
        world = lanes_world(tmp_path, Node(fabric, "parent0"), Node(fabric, "child0"))
        yield world
        await world.end()


@pytest.fixture
async def world(tmp_path: Path, fabric: MemoryFabric) -> AsyncIterator[LanesWorld]:
    world = lanes_world(tmp_path, Node(fabric, "parent0", "parent1"), Node(fabric, "child0", "child1"))
    yield world
    await world.end()


async def connected(world: LanesWorld) -> tuple[Child, Digest]:
    shard = world.shelf.add(CONTENT, MIB)
    child = await world.child(world.serve())
    child.hashing = True
    await child.subscribe(shard)
    return child, shard


async def stranger(world: LanesWorld) -> tuple[Child, Digest]:
    """A child that has not asked for anything, nor for lanes."""
    shard = world.shelf.add(CONTENT, MIB)
    child = Child(world.folder / "target")
    world.children.append(child)
    child.hashing = True
    await child.connect(world.transport, world.serve().address)
    return child, shard


async def fetch_all(child: Child, shard: Digest) -> list[Received]:
    """Every piece, all at once; what came must be right."""
    numbers = [child.ask(shard, start, min(MIB, len(CONTENT) - start)) for start in range(0, len(CONTENT), MIB)]
    await until(lambda: all(child.outcomes[number] for number in numbers))
    received = []
    for number, start in zip(numbers, range(0, len(CONTENT), MIB), strict=True):
        (outcome,) = child.outcomes[number]
        assert isinstance(outcome, Received)
        along = child.hashes[number]
        assert along is not None
        assert not outcome.hashed or along.digest() == hashlib.sha256(CONTENT[start : start + MIB]).digest()
        received.append(outcome)
    assert child.target.read_bytes() == CONTENT
    return received


async def test_everything_comes_over_lanes_from_the_first_byte_on(world: LanesWorld) -> None:
    child, shard = await stranger(world)
    await child.subscribe(shard)
    received = await fetch_all(child, shard)
    assert {outcome.transport for outcome in received} == {"rdma"}
    assert world.node.rails.detours.bytes == len(CONTENT)
    assert world.node.rails.detours.reasons == {}
    assert child.connection.lanes == 2  # type: ignore[attr-defined]


async def test_what_is_asked_before_the_parent_has_accepted_comes_over_a_lane_too(world: LanesWorld) -> None:
    child, shard = await stranger(world)
    child.connection.subscribe(shard, GOOD)
    received = await fetch_all(child, shard)
    assert {outcome.transport for outcome in received} == {"rdma"}


async def test_what_is_asked_before_the_parent_has_refused_is_refused(world: LanesWorld) -> None:
    child, shard = await stranger(world)
    child.connection.subscribe(shard, b"a wrong capability")
    assert isinstance(await child.fetch(shard, 0, MIB), Refused)


async def test_a_parent_without_rdma(tmp_path: Path, fabric: MemoryFabric) -> None:
    world = lanes_world(tmp_path, Node(fabric), Node(fabric, "child0"))
    child, shard = await stranger(world)
    await child.subscribe(shard)
    while not world.node.rails.detours.reasons:  # until the parent has answered
        await fetch_all(child, shard)
    received = await fetch_all(child, shard)
    assert {outcome.transport for outcome in received} == {"tcp"}
    assert {outcome.detour for outcome in received} == {"The parent has no RDMA device that works."}
    assert {kind_of(outcome.detour) for outcome in received} == {"no_device"}
    assert set(world.node.rails.detours.reasons) == {"The parent has no RDMA device that works."}
    await world.end()


@pytest.mark.parametrize("whose", ["parent", "child"])
async def test_a_device_removed_in_mid_transfer_and_back_again(world: LanesWorld, whose: str) -> None:
    child, shard = await connected(world)
    node = world.parent if whose == "parent" else world.node
    child.ask(shard, 0, len(CONTENT))
    found, node.found = node.found, ()
    for device in list(node.devices.values()):
        device.remove()
    await until(lambda: child.outcomes[0])
    received = await fetch_all(child, shard)
    assert {outcome.transport for outcome in received} == {"tcp"}
    assert all(outcome.detour for outcome in received)
    assert {kind_of(outcome.detour) for outcome in received} <= {"failed", "no_device"}
    assert sum(world.node.rails.detours.reasons.values()) >= len(received)
    node.found = found
    await until(lambda: len(node.rails.rails) == 2)

    async def again() -> bool:
        await fetch_all(child, shard)
        return bool(child.connection.lanes)  # type: ignore[attr-defined]

    while not await again():
        pass
    assert {outcome.transport for outcome in await fetch_all(child, shard)} == {"rdma"}


async def test_a_look_for_devices_that_fails_is_not_the_last(fabric: MemoryFabric) -> None:
    found: list[Callable[[], tuple[Rail, ...]]] = [tuple]

    def find() -> tuple[Rail, ...]:
        return found[-1]()

    def broken() -> tuple[Rail, ...]:
        found.append(lambda: (rail("late"),))
        raise RuntimeError("of the test")

    rails = NodeRails(find=find, open_device=lambda there: fabric.device(there.device), look_every=0.02)
    rails.start()
    found.append(broken)
    await until(lambda: [there.rail.device for there in rails.rails] == ["late"])
    rails.close()


async def test_one_of_two_rails_lost(world: LanesWorld) -> None:
    child, shard = await connected(world)
    world.node.found = world.node.found[:1]
    world.node.devices["child1"].remove()
    await fetch_all(child, shard)
    assert {outcome.transport for outcome in await fetch_all(child, shard)} == {"rdma"}


async def test_devices_that_do_not_reach_each_other(world: LanesWorld, fabric: MemoryFabric) -> None:
    for parent in ("parent0", "parent1"):
        for mine in ("child0", "child1"):
            fabric.separate(parent, mine)
    child, shard = await connected(world)
    received = await fetch_all(child, shard)
    assert {outcome.transport for outcome in received} == {"tcp"}
    assert {outcome.detour for outcome in received} <= set(world.node.rails.detours.reasons)


async def test_fewer_slots_than_requests(tmp_path: Path, fabric: MemoryFabric) -> None:
    world = lanes_world(tmp_path, Node(fabric, "parent0", slots=2), Node(fabric, "child0", slots=1))
    child, shard = await connected(world)
    assert {outcome.transport for outcome in await fetch_all(child, shard)} == {"rdma"}
    await world.end()


async def test_several_children_share_a_parents_memory(tmp_path: Path, fabric: MemoryFabric) -> None:
    world = lanes_world(tmp_path, Node(fabric, "parent0", slots=2), Node(fabric, "child0"))
    shard = world.shelf.add(CONTENT, MIB)
    server = world.serve()
    children = [await world.child(server, f"child-{number}") for number in range(4)]
    for child in children:
        await child.subscribe(shard)
    for child in children:
        child.ask(shard, 0, len(CONTENT))
    await until(lambda: all(child.outcomes[0] for child in children))
    for child in children:
        assert isinstance(child.outcomes[0][0], Received)
        assert child.target.read_bytes() == CONTENT
    await world.end()
