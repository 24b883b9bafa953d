"""Who connects to a piece server without being a proper child gets a clear end, and costs nothing."""

from __future__ import annotations

import asyncio
import itertools
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from modeldist.scheduler.pieces import PieceSet
from modeldist.transfer import frames
from modeldist.transfer.base import Received, ServerLimits
from modeldist.transfer.frame_reader import BodyData, Event
from modeldist.transfer.tcp import ServerTimeouts, TcpPieceServer, TcpTransport
from tests.unit.transfer.raw_child import RawChild
from tests.unit.transfer.shelf import GOOD, Child, Shelf, good_capability

PATIENT = ServerTimeouts()
UNLIMITED = ServerLimits()
HASTY = ServerTimeouts(hello=0.1, idle=0.2, silent=0.2, stall=0.3)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "shelf")


@pytest.fixture
def servers() -> Iterator[list[TcpPieceServer]]:
    started: list[TcpPieceServer] = []
    yield started
    for server in started:
        server.close()


@pytest.fixture
def children() -> Iterator[list[RawChild]]:
    made: list[RawChild] = []
    yield made
    for child in made:
        child.sock.close()


class Desk:
    """Makes servers and raw children that the fixtures remove."""

    def __init__(self, shelf: Shelf, servers: list[TcpPieceServer], children: list[RawChild]) -> None:
        self.shelf = shelf
        self._servers = servers
        self._children = children

    def serve(self, timeouts: ServerTimeouts = PATIENT, limits: ServerLimits = UNLIMITED) -> TcpPieceServer:
        server = TcpPieceServer(
            self.shelf, host="127.0.0.1", check=good_capability, limits=limits, node="parent", timeouts=timeouts
        )
        self._servers.append(server)
        return server

    def raw(self, server: TcpPieceServer) -> RawChild:
        self._children.append(RawChild(server))
        return self._children[-1]


@pytest.fixture
def desk(shelf: Shelf, servers: list[TcpPieceServer], children: list[RawChild]) -> Desk:
    return Desk(shelf, servers, children)


@pytest.mark.parametrize(
    "garbage",
    [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00", b"\0" * 200_000, frames.MAGIC + b"\xff" * 16],
)
async def test_garbage_gets_a_sentence_and_an_end(desk: Desk, tmp_path: Path, garbage: bytes) -> None:
    server = desk.serve()
    assert b"piece server" in desk.raw(server).say(garbage).rest()
    await _works(desk, server, tmp_path)


async def _works(desk: Desk, server: TcpPieceServer, tmp_path: Path) -> None:
    """A proper child is served as ever."""
    shard = desk.shelf.add(b"proper" * 1000, 1024)
    child = Child(tmp_path / "target")
    await child.connect(TcpTransport(), server.address)
    await child.subscribe(shard)
    assert isinstance(await child.fetch(shard, 0, 6000), Received)
    child.close()
    child.release()


def test_a_child_of_another_version_is_told_so(desk: Desk) -> None:
    child = desk.raw(desk.serve()).hello(version=99)
    answer = child.next()
    assert isinstance(answer, frames.HelloRefused)
    assert "protocol 1, the child 99" in answer.reason
    assert child.rest() == b""


def test_frames_before_the_hello(desk: Desk) -> None:
    assert b"piece server" in desk.raw(desk.serve()).say(frames.MAGIC, frames.Ping(1)).rest()


def test_who_says_nothing_is_shown_out(desk: Desk) -> None:
    server = desk.serve(HASTY)
    assert desk.raw(server).rest() == b""
    assert desk.raw(server).say(frames.MAGIC).rest() == b""


def test_who_goes_on_talking_after_a_refusal_is_cut_off(desk: Desk) -> None:
    child = desk.raw(desk.serve())
    with pytest.raises(OSError):
        for _ in range(10_000):
            child.say(b"\0" * 65536)


def test_who_presents_no_capability_is_shown_out(desk: Desk) -> None:
    shard = desk.shelf.add(b"content", 1024)
    server = desk.serve(ServerTimeouts(subscribe=0.2))
    child = desk.raw(server).hello().say(frames.Subscribe(1, shard, b"forged"), frames.Ping(1), frames.Unsubscribe(1))
    assert isinstance(child.next(), frames.HelloOk)
    refused = child.next()
    assert isinstance(refused, frames.SubscribeRefused)
    assert "capability" in refused.reason
    assert child.next() == frames.Pong(1)
    farewell = child.next()
    assert isinstance(farewell, frames.Goodbye)
    assert "in time" in farewell.reason
    assert desk.raw(server).hello().say(frames.Goodbye("enough")).rest().startswith(frames.MAGIC)


def test_guessing_capabilities_ends_soon(desk: Desk) -> None:
    shard = desk.shelf.add(b"content", 1024)
    child = desk.raw(desk.serve()).hello()
    child.say(*(frames.Subscribe(n, shard, b"guess %d" % n) for n in range(1000)))
    assert isinstance(child.next(), frames.HelloOk)
    refusals = 0
    while isinstance(event := child.next(), frames.SubscribeRefused):
        refusals += 1
    assert isinstance(event, frames.Goodbye)
    assert refusals < 100


async def test_strangers_that_say_hello_keep_no_child_out(desk: Desk, tmp_path: Path) -> None:
    """Four times as many as are served; those that came first go first."""
    server = desk.serve(limits=ServerLimits(connections=32))
    strangers = [desk.raw(server).hello() for _ in range(4 * 32)]
    assert isinstance(strangers[-1].next(), frames.HelloOk)
    assert b"Others wait here too" in strangers[0].rest()
    await _works(desk, server, tmp_path)
    strangers[-1].say(frames.Ping(7))
    assert strangers[-1].next() == frames.Pong(7)


async def test_strangers_beside_a_full_house_of_children(desk: Desk, tmp_path: Path) -> None:
    """Children are served on, further ones are told that the house is full, and get in when one leaves."""
    shard = desk.shelf.add(b"content", 1024)
    server = desk.serve(limits=ServerLimits(connections=2))
    late = desk.raw(server).hello()
    assert isinstance(late.next(), frames.HelloOk)
    family = [desk.raw(server).hello().say(frames.Subscribe(1, shard, GOOD)) for _ in range(2)]
    for child in family:
        assert [type(child.next()), type(child.next())] == [frames.HelloOk, frames.Have]
    late.say(frames.Subscribe(1, shard, GOOD))
    farewell = late.next()
    assert isinstance(farewell, frames.Goodbye)
    assert "takes no more" in farewell.reason
    for _ in range(100):
        desk.raw(server).hello()
    with pytest.raises(OSError, match="takes no more"):
        await TcpTransport().connect(server.address, child="later", on_have=lambda *_: None, on_closed=lambda _: None)
    for child in family:
        child.say(frames.Ping(1))
        assert child.next() == frames.Pong(1)
    family[0].say(frames.Goodbye("done")).rest()
    await _eventually_works(desk, server, tmp_path)


async def _eventually_works(desk: Desk, server: TcpPieceServer, tmp_path: Path) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            return await _works(desk, server, tmp_path)
        except OSError:
            assert time.monotonic() < deadline


async def test_a_child_that_wants_nothing_any_more_gives_way(desk: Desk, tmp_path: Path) -> None:
    shard = desk.shelf.add(b"content", 1024)
    server = desk.serve(limits=ServerLimits(connections=1))
    child = desk.raw(server).hello().say(frames.Subscribe(1, shard, GOOD), frames.Unsubscribe(1), frames.Ping(1))
    assert [type(child.next()) for _ in range(3)] == [frames.HelloOk, frames.Have, frames.Pong]
    async with asyncio.timeout(10):
        while True:
            try:
                await _works(desk, server, tmp_path)
                break
            except OSError:  # its thread had not put the ping away yet
                await asyncio.sleep(0.01)
    farewell = child.next()
    assert isinstance(farewell, frames.Goodbye)
    assert "idle" in farewell.reason


def test_a_child_that_speaks_like_a_parent_is_told_goodbye(desk: Desk) -> None:
    child = desk.raw(desk.serve()).hello()
    assert isinstance(child.next(), frames.HelloOk)
    child.say(frames.Have.of(1, PieceSet.of([1])))
    farewell = child.next()
    assert isinstance(farewell, frames.Goodbye)
    assert "does not send Have" in farewell.reason


def test_nonsense_right_behind_the_hello(desk: Desk) -> None:
    child = desk.raw(desk.serve()).say(
        frames.MAGIC, frames.Hello(frames.VERSION, "raw"), frames.HelloOk(frames.VERSION, "raw")
    )
    assert isinstance(child.next(), frames.HelloOk)
    assert isinstance(child.next(), frames.Goodbye)


def test_one_number_for_two_shards(desk: Desk) -> None:
    one, two = (desk.shelf.add(name, 1024) for name in (b"one", b"two"))
    child = desk.raw(desk.serve()).hello()
    assert isinstance(child.next(), frames.HelloOk)
    child.say(frames.Subscribe(1, one, GOOD), frames.Subscribe(1, two, GOOD))
    assert isinstance(child.next(), frames.Have)
    assert isinstance(child.next(), frames.Goodbye)


def test_pings_are_answered(desk: Desk) -> None:
    child = desk.raw(desk.serve()).hello().say(frames.Ping(41), frames.Ping(42))
    assert isinstance(child.next(), frames.HelloOk)
    assert [child.next(), child.next()] == [frames.Pong(41), frames.Pong(42)]


def test_an_idle_child_is_sent_away(desk: Desk) -> None:
    shard = desk.shelf.add(b"content", 1024)
    child = desk.raw(desk.serve(ServerTimeouts(idle=0.1))).hello()
    child.say(frames.Subscribe(1, shard, GOOD), frames.Unsubscribe(1))
    assert [type(child.next()), type(child.next())] == [frames.HelloOk, frames.Have]
    assert child.next() == frames.Goodbye("This connection was idle.")


def test_a_silent_subscriber_is_sent_away(desk: Desk) -> None:
    shard = desk.shelf.add(b"content", 1024)
    child = desk.raw(desk.serve(ServerTimeouts(idle=0.1, silent=0.4))).hello().say(frames.Subscribe(1, shard, GOOD))
    assert isinstance(child.next(), frames.HelloOk)
    assert isinstance(child.next(), frames.Have)
    assert child.next() == frames.Goodbye("The child went silent.")


def test_a_child_that_takes_nothing_is_dropped_and_its_requests_forgotten(desk: Desk) -> None:
    shard = desk.shelf.add(b"x" * (32 << 20), 1 << 20)
    server = desk.serve(ServerTimeouts(stall=0.2))
    child = desk.raw(server).hello()
    assert isinstance(child.next(), frames.HelloOk)
    child.say(frames.Subscribe(1, shard, GOOD))
    assert isinstance(child.next(), frames.Have)
    with pytest.raises(OSError):
        for number in itertools.count():
            child.say(frames.Request(number, 1, 0, 32 << 20))
    deadline = time.monotonic() + 20
    while server.load().requests and time.monotonic() < deadline:
        time.sleep(0.002)
    assert (server.load().requests, server.load().bytes_queued) == (0, 0)


def test_a_child_is_answered_while_its_body_waits_for_the_upload_limit(desk: Desk) -> None:
    shard = desk.shelf.add(b"x" * (64 << 20), 1 << 20)
    server = desk.serve(limits=ServerLimits(upload_rate=1000.0))  # the second block waits for its turn for long
    child = desk.raw(server).hello()
    assert isinstance(child.next(), frames.HelloOk)
    child.say(frames.Subscribe(1, shard, GOOD), frames.Request(1, 1, 0, 64 << 20))
    event: Event | None = None
    while not isinstance(event, BodyData):
        event = child.next()
    child.say(b"".join(frames.encode(frames.Ping(n)) for n in range(20_000)))
    while event != frames.Pong(19_999):
        event = child.next()
    server.close()
    assert child.next() == frames.Goodbye("This parent is shutting down.")


def test_the_server_listens_on_ipv6_too(shelf: Shelf) -> None:
    if not socket.has_ipv6 or not Path("/proc/net/if_inet6").exists():
        pytest.skip("this machine has no IPv6")
    server = TcpPieceServer(shelf, host="::1", check=good_capability, node="parent")
    try:
        assert server.address.startswith("[::1]:")
    finally:
        server.close()
        server.close()


def test_a_port_that_is_taken(shelf: Shelf, desk: Desk) -> None:
    port = int(desk.serve().address.rpartition(":")[2])
    with pytest.raises(OSError):
        TcpPieceServer(shelf, host="127.0.0.1", port=port, check=good_capability, node="parent")
