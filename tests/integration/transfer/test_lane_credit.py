"""What a parent exposes on a lane ends with the child's use of it, or with the parent's patience."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from modeldist.artifact import Digest
from modeldist.transfer import frames
from modeldist.transfer.tcp import TcpPieceServer
from modeldist.transfer.verbs.lane_ends import from_the_wire, on_the_wire
from modeldist.transfer.verbs.parent_lanes import PATIENCE
from rdma import AccessRefused, QueuePairBroken, Unreachable
from rdma.double import MemoryFabric, MemoryQueuePair
from rdma.interface import RemoteRange
from tests.unit.transfer.lanes_world import Node
from tests.unit.transfer.raw_child import RawChild
from tests.unit.transfer.shelf import GOOD, Shelf, good_capability, until
from tests.verbs.conformance import content, read

T = TypeVar("T")
SLOT = 65536
CONTENT = os.urandom(4 * SLOT)


class Credit:
    """A parent with `slots` slots, and a child written by hand with a lane to it."""

    def __init__(self, folder: Path, slots: int = 2) -> None:
        fabric = MemoryFabric()
        self.now = 100.0
        self.parent = Node(fabric, "parent0", slots=slots, slot=SLOT)
        self.device = fabric.device("child0")
        self.shelf = Shelf(folder)
        self.shard: Digest = self.shelf.add(CONTENT, SLOT)
        self.server = TcpPieceServer(
            self.shelf,
            host="127.0.0.1",
            check=good_capability,
            node="parent",
            rails=self.parent.rails,
            clock=lambda: self.now,
        )
        self.child = RawChild(self.server).hello()
        self.expect(frames.HelloOk)
        self.child.say(frames.Subscribe(1, self.shard, GOOD))
        self.expect(frames.Have)
        self.pair = self.open_lane()

    def expect(self, kind: type[T]) -> T:
        event = self.child.next()
        assert isinstance(event, kind), event
        return event

    def open_lane(self) -> MemoryQueuePair:
        pair = self.device.queue_pair()
        self.child.say(frames.LanesWanted([on_the_wire(pair.endpoint)]))
        (end,) = self.expect(frames.LanesOpened).ends
        assert end is not None
        pair.connect(from_the_wire(end))
        return pair

    @property
    def free(self) -> int:
        return self.parent.rails.rails[0].serving.free

    def close(self) -> None:
        self.child.sock.close()
        self.server.close()
        self.device.close()
        self.parent.rails.close()


@pytest.fixture
def credit(tmp_path: Path) -> Iterator[Credit]:
    made = Credit(tmp_path / "shelf")
    yield made
    made.close()


def remote(frame: frames.Exposed) -> RemoteRange:
    return RemoteRange(frame.address, frame.length, frame.key)


async def test_parts_are_exposed_in_order_as_slots_come_free(credit: Credit) -> None:
    credit.child.say(frames.Request(7, 1, 0, len(CONTENT), 0))
    into = credit.device.allocate(SLOT)
    for number in range(4):
        part = credit.expect(frames.Exposed)
        assert (part.request, part.done, part.length) == (7, number * SLOT, SLOT)
        assert read(credit.pair, remote(part), into) is None
        assert content(into) == CONTENT[part.done : part.done + SLOT]
        credit.child.say(frames.Landed(7))
    await until(lambda: credit.free == 2)


async def test_a_key_ends_with_the_childs_word(credit: Credit) -> None:
    credit.child.say(frames.Request(7, 1, 0, SLOT, 0))
    part = credit.expect(frames.Exposed)
    credit.child.say(frames.Landed(7))
    await until(lambda: credit.free == 2)
    assert isinstance(read(credit.pair, remote(part), credit.device.allocate(SLOT)), AccessRefused)


async def test_a_key_ends_with_the_parents_patience(credit: Credit) -> None:
    credit.child.say(frames.Request(7, 1, 0, SLOT, 0))
    part = credit.expect(frames.Exposed)
    credit.now += PATIENCE + 1
    credit.child.say(frames.Ping(1))
    closed = {type(credit.child.next()), type(credit.child.next())}
    assert closed == {frames.LaneClosed, frames.Pong}
    assert credit.free == 2
    refused = read(credit.pair, remote(part), credit.device.allocate(SLOT))
    assert isinstance(refused, Unreachable | AccessRefused | QueuePairBroken)
    credit.pair = credit.open_lane()  # it may ask again
    credit.child.say(frames.Request(8, 1, 0, SLOT, 0))
    assert read(credit.pair, remote(credit.expect(frames.Exposed)), credit.device.allocate(SLOT)) is None


async def test_a_child_that_goes_leaves_nothing_exposed(credit: Credit) -> None:
    credit.child.say(frames.Request(7, 1, 0, SLOT, 0))
    credit.expect(frames.Exposed)
    credit.child.sock.close()
    await until(lambda: credit.free == 2)


async def test_a_lane_that_is_not_open_means_send(credit: Credit) -> None:
    credit.child.say(frames.LaneClosed(0, "enough"), frames.Request(7, 1, 0, SLOT, 0))
    body = credit.expect(frames.Body)
    assert (body.request, body.length, body.last) == (7, SLOT, True)


async def test_without_a_free_slot_the_piece_is_sent(credit: Credit) -> None:
    credit.child.say(frames.Request(7, 1, 0, 2 * SLOT, 0))
    for _ in range(2):
        credit.expect(frames.Exposed)
    credit.child.say(frames.Request(8, 1, 2 * SLOT, SLOT, 0))
    while not credit.child.events:
        credit.now += 0.5  # the parent's patience with its own memory is shorter than with the child
        credit.child.say(frames.Ping(1))
        event = credit.child.next()
        if isinstance(event, frames.Body):
            assert (event.request, event.length) == (8, SLOT)
            return


async def test_lanes_that_cannot_be(credit: Credit) -> None:
    credit.child.say(frames.LanesWanted([frames.LaneEnd(1, bytes(16), 0, 0, 1500, 1)]))
    goodbye = credit.expect(frames.Goodbye)
    assert "cannot be" in goodbye.reason


async def test_a_stranger_gets_no_lane(credit: Credit) -> None:
    stranger = RawChild(credit.server).hello()
    stranger.next()
    pair = credit.device.queue_pair()
    stranger.say(frames.LanesWanted([on_the_wire(pair.endpoint)]))
    goodbye = stranger.next()
    assert isinstance(goodbye, frames.Goodbye)
    stranger.sock.close()


async def test_what_waits_for_a_lane_that_is_given_up_is_not_sent(credit: Credit) -> None:
    """The child asks for it anew; and the lane's successor has the same number."""
    requests = [frames.Request(number, 1, 0, 4 * SLOT, 0) for number in (7, 8, 9)]
    credit.child.say(*requests)
    for _ in range(2):
        assert credit.expect(frames.Exposed).request == 7
    again = [frames.LanesWanted([on_the_wire(credit.device.queue_pair().endpoint)])]
    credit.child.say(frames.LaneClosed(0, "it broke"), *again, frames.Request(10, 1, SLOT, SLOT, 0))
    credit.expect(frames.LanesOpened)
    assert credit.expect(frames.Exposed).request == 10


async def test_what_waits_for_a_lane_that_the_parent_closes_is_not_sent(credit: Credit) -> None:
    credit.child.say(*[frames.Request(number, 1, 0, 4 * SLOT, 0) for number in (7, 8, 9)])
    for _ in range(2):
        credit.expect(frames.Exposed)
    credit.now += PATIENCE + 1
    credit.child.say(frames.Ping(1))
    assert {type(credit.child.next()), type(credit.child.next())} == {frames.LaneClosed, frames.Pong}
    credit.child.say(frames.Request(10, 1, SLOT, SLOT))
    assert credit.expect(frames.Body).request == 10
    await until(lambda: credit.server.load().requests == credit.server.load().bytes_queued == 0)


async def test_a_child_that_lands_nothing_leaves_memory_for_others(tmp_path: Path) -> None:
    """However many lanes it has."""
    credit = Credit(tmp_path / "shelf", slots=8)
    pairs = [credit.device.queue_pair() for _ in range(frames.MAX_LANES)]
    credit.child.say(frames.LanesWanted([on_the_wire(pair.endpoint) for pair in pairs]))
    credit.expect(frames.LanesOpened)
    credit.child.say(*[frames.Request(7 + lane, 1, 0, SLOT, lane) for lane in range(8)])
    for _ in range(6):
        credit.expect(frames.Exposed)
    event: object = None
    while not isinstance(event, frames.Body):  # until the parent's patience with its own memory ends
        assert event is None or isinstance(event, frames.Pong)
        credit.now += 0.5
        credit.child.say(frames.Ping(1))
        event = credit.child.next()
    assert credit.free == 2
    credit.close()
