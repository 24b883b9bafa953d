"""A child and parents that do not do over their lanes what they should, or do it too late."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from modeldist.artifact import Digest
from modeldist.scheduler.pieces import PieceSet
from modeldist.transfer import frames
from modeldist.transfer.base import Busy, Lost, Received
from modeldist.transfer.tcp import TcpTransport
from modeldist.transfer.verbs.lane_ends import from_the_wire, on_the_wire
from rdma.double import MemoryFabric
from rdma.interface import Exposure, QueuePair
from tests.unit.transfer.bad_parent import BadParent, Parents, Script, bad_parents
from tests.unit.transfer.lanes_world import Node
from tests.unit.transfer.shelf import GOOD, Child, until

SHARD = Digest("sha256:" + "5" * 64)
SLOT = 65536
CONTENT = os.urandom(2 * SLOT)
HELLO_OK = frames.MAGIC + frames.encode(frames.HelloOk(frames.VERSION, "parent", frames.LANES_VERSION))


class Lane:
    """The parent's end of the one lane, and a slot's worth of bytes at a time exposed on it."""

    def __init__(self, fabric: MemoryFabric) -> None:
        self._device = fabric.device("parent0")
        self._memory = self._device.register(memoryview(bytearray(CONTENT)))
        self.pair: QueuePair = self._device.queue_pair()
        self.exposures: list[Exposure] = []

    def open(self, parent: BadParent) -> frames.Request:
        """Greets, lets the child subscribe, opens its lane; the child's first request over it."""
        parent.say(HELLO_OK)
        parent.hear(frames.Subscribe)
        parent.say(frames.encode(frames.Have.of(1, PieceSet.full(2))))
        self.pair.connect(from_the_wire(parent.hear(frames.LanesWanted).ends[0]))
        parent.say(frames.encode(frames.LanesOpened([on_the_wire(self.pair.endpoint)])))
        request = parent.hear(frames.Request)
        assert request.lane == 0
        return request

    def expose(self, request: frames.Request, done: int, length: int) -> bytes:
        exposure = self.pair.expose(self._memory, done, length)
        self.exposures.append(exposure)
        there = exposure.remote
        return frames.encode(frames.Exposed(request.request, done, there.address, there.length, there.key))

    def close(self) -> None:
        self._device.close()


@pytest.fixture
def parents() -> Iterator[Parents]:
    yield from bad_parents()


@pytest.fixture
def fabric() -> MemoryFabric:
    return MemoryFabric()


@pytest.fixture
def lane(fabric: MemoryFabric) -> Iterator[Lane]:
    lane = Lane(fabric)
    yield lane
    lane.close()


@pytest.fixture
def node(fabric: MemoryFabric) -> Iterator[Node]:
    node = Node(fabric, "child0", slot=SLOT)
    yield node
    (rail,) = node.rails.rails
    assert rail.receiving.free == rail.receiving.slots
    node.rails.close()


@pytest.fixture
async def child(tmp_path: Path) -> AsyncIterator[Child]:
    child = Child(tmp_path / "target")
    yield child
    child.close()
    await child.all_settled()
    assert all(len(found) == 1 for found in child.outcomes.values())
    child.release()


async def asked(child: Child, node: Node, parent: BadParent) -> None:
    """The child has asked for the whole shard."""
    await child.connect(TcpTransport(rails=node.rails), parent.address)
    child.connection.subscribe(SHARD, GOOD)
    child.ask(SHARD, 0, len(CONTENT))


def busy(request: frames.Request) -> bytes:
    return frames.encode(frames.Busy(request.request, 10))


def block(request: frames.Request, data: bytes) -> bytes:
    return frames.encode_body_header(request.request, len(data), last=True) + data


def answering(lane: Lane, *answers: str) -> Script:
    def script(parent: BadParent) -> None:
        request = lane.open(parent)
        for answer in answers:
            match answer.split():
                case "expose", done, length:
                    parent.say(lane.expose(request, int(done), int(length)))
                case "stranger", _:
                    parent.say(lane.expose(frames.Request(request.request + 7, 1, 0, SLOT, 0), 0, SLOT))
                case "busy", _:
                    parent.say(busy(request))
                case "opened", _:
                    parent.say(frames.encode(frames.LanesOpened([on_the_wire(lane.pair.endpoint)])))
        parent.done.wait()

    return script


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ((f"expose 0 {SLOT}", "busy now"), "exposed a range and then answered otherwise"),
        ((f"expose {SLOT} {SLOT}",), "exposed another part than the next"),
        ((f"expose 0 {SLOT}", f"expose 0 {SLOT}"), "exposed another part than the next"),
        ((f"expose 0 {SLOT + 1}",), "exposed more at once than it may"),
        (("stranger here",), "exposed a range nobody asked for"),
        (("opened again",), "opened lanes that nobody asked for"),
    ],
)
async def test_what_a_parent_may_not_do(
    parents: Parents, child: Child, node: Node, lane: Lane, answers: tuple[str, ...], reason: str
) -> None:
    parent = parents(answering(lane, *answers))
    await asked(child, node, parent)
    await child.all_settled()
    (lost,) = child.lost
    assert reason in lost.reason


async def test_a_busy_parent_is_asked_again_later(parents: Parents, child: Child, node: Node, lane: Lane) -> None:
    parent = parents(answering(lane, "busy now"))
    await asked(child, node, parent)
    await child.all_settled()
    assert child.outcomes[0] == [Busy(0.01)]


@pytest.mark.parametrize("late", ["busy", "body", "exposed"])
async def test_answers_that_cross_the_end_of_a_lane_are_passed_over(
    parents: Parents, child: Child, node: Node, lane: Lane, late: str
) -> None:
    """The child gives the lane up and asks for the rest over the connection; the parent had answered before it knew."""

    def script(parent: BadParent) -> None:
        request = lane.open(parent)
        parent.say(lane.expose(request, 0, SLOT))
        parent.hear(frames.Landed)
        node.devices["child0"].remove()
        parent.say(lane.expose(request, SLOT, SLOT))
        again = parent.hear(frames.Request)
        assert again.lane == -1
        assert again.start == SLOT
        if late == "busy":
            parent.say(busy(request))
        elif late == "body":
            parent.say(block(request, os.urandom(SLOT)))
        else:
            there = lane.exposures[0].remote
            parent.say(frames.encode(frames.Exposed(request.request, 2 * SLOT, there.address, SLOT, there.key)))
        parent.say(block(again, CONTENT[SLOT:]))
        parent.done.wait()

    found, node.found = node.found, ()
    parent = parents(script)
    await asked(child, node, parent)
    await child.all_settled()
    (received,) = child.received
    assert isinstance(received, Received)
    assert received.transport == "tcp"
    assert "child0 was removed" in received.detour
    assert child.target.read_bytes() == CONTENT
    node.found = found
    await until(lambda: node.rails.rails)


async def test_a_parent_that_goes_with_a_part_exposed(parents: Parents, child: Child, node: Node, lane: Lane) -> None:
    def script(parent: BadParent) -> None:
        request = lane.open(parent)
        parent.say(lane.expose(request, 0, SLOT))
        parent.hear(frames.Landed)

    parent = parents(script)
    await asked(child, node, parent)
    await child.all_settled()
    assert isinstance(child.outcomes[0][0], Lost)


async def lanes_answered_by(
    parents: Parents, child: Child, node: Node, lane: Lane, answers: Callable[[frames.LaneEnd], list[frames.Control]]
) -> Received:
    """What comes of a request to a parent that answers the question for lanes like this, and sends what is asked."""

    def script(parent: BadParent) -> None:
        parent.say(HELLO_OK)
        parent.hear(frames.Subscribe)
        parent.say(frames.encode(frames.Have.of(1, PieceSet.full(2))))
        lane.pair.connect(from_the_wire(parent.hear(frames.LanesWanted).ends[0]))
        parent.say(b"".join(map(frames.encode, answers(on_the_wire(lane.pair.endpoint)))))
        while True:
            parent.say(block(parent.hear(frames.Request), CONTENT))

    parent = parents(script)
    await asked(child, node, parent)
    await child.all_settled()
    (received,) = child.outcomes[0]
    assert isinstance(received, Received), received
    assert child.target.read_bytes() == CONTENT
    return received


async def test_a_parent_that_never_answers_the_question_for_lanes(parents: Parents, child: Child, node: Node) -> None:
    def script(parent: BadParent) -> None:
        parent.say(HELLO_OK)
        parent.hear(frames.Subscribe)
        parent.say(frames.encode(frames.Have.of(1, PieceSet.full(2))))
        while True:
            match parent.hear(object):
                case frames.Ping(token=token):
                    parent.say(frames.encode(frames.Pong(token)))
                case frames.Request() as request:
                    parent.say(block(request, CONTENT))

    fast = TcpTransport(rails=node.rails, clock=lambda: 6 * time.monotonic())
    await child.connect(fast, parents(script).address)
    child.connection.subscribe(SHARD, GOOD)
    received = await child.fetch(SHARD, 0, len(CONTENT))
    assert isinstance(received, Received)
    assert "did not say" in received.detour
    assert child.target.read_bytes() == CONTENT


async def test_a_lane_that_answers_no_reads_is_not_used(parents: Parents, child: Child, node: Node, lane: Lane) -> None:
    """A real device would wait for ever with the first read."""
    received = await lanes_answered_by(
        parents, child, node, lane, lambda end: [frames.LanesOpened([msgspec.structs.replace(end, reads=0)])]
    )
    assert received.detour == "The parent's device answers no reads."


async def test_a_lane_that_the_parent_closes_at_once_is_not_used(
    parents: Parents, child: Child, node: Node, lane: Lane
) -> None:
    await lanes_answered_by(
        parents, child, node, lane, lambda end: [frames.LanesOpened([end]), frames.LaneClosed(0, "its device went")]
    )
    await until(lambda: not child.connection.lanes)  # type: ignore[attr-defined]


async def test_a_parent_may_answer_once(parents: Parents, child: Child, node: Node, lane: Lane) -> None:
    """Also when both answers come before the first is acted on."""

    def script(parent: BadParent) -> None:
        parent.say(HELLO_OK)
        parent.hear(frames.Subscribe)
        parent.say(frames.encode(frames.Have.of(1, PieceSet.full(2))))
        parent.hear(frames.LanesWanted)
        parent.say(2 * frames.encode(frames.LanesOpened([on_the_wire(lane.pair.endpoint)])))
        parent.done.wait()

    parent = parents(script)
    await asked(child, node, parent)
    await child.all_settled()
    (lost,) = child.lost
    assert "opened lanes that nobody asked for" in lost.reason
