"""A child and the parents it should not have met: each ends with a reason, and no byte outside the asked range."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from modeldist.artifact import Digest
from modeldist.scheduler.pieces import PieceSet
from modeldist.transfer import frames
from modeldist.transfer.base import Into, Lost, NotWritten, Received
from modeldist.transfer.tcp import TcpPieceServer, TcpTransport
from tests.unit.transfer.bad_parent import BadParent, Parents, Script, bad_parents
from tests.unit.transfer.shelf import GOOD, Child, Shelf, good_capability, until

SHARD = Digest("sha256:" + "5" * 64)
HELLO_OK = frames.MAGIC + frames.encode(frames.HelloOk(frames.VERSION, "bad parent"))


@pytest.fixture
def parents() -> Iterator[Parents]:
    yield from bad_parents()


@pytest.fixture
async def child(tmp_path: Path) -> AsyncIterator[Child]:
    child = Child(tmp_path / "target")
    yield child
    if hasattr(child, "connection"):
        child.close()
    await child.all_settled()
    assert all(len(found) == 1 for found in child.outcomes.values())
    child.release()


def _answer(*after_request: bytes) -> Script:
    """Greets, lets the child subscribe, and answers its first request with these bytes."""

    def script(parent: BadParent) -> None:
        parent.say(HELLO_OK)
        parent.hear(frames.Subscribe)
        parent.say(frames.encode(frames.Have.of(1, PieceSet.full(4))))
        parent.hear(frames.Request)
        for data in after_request:
            parent.say(data)
        parent.done.wait()

    return script


def _block(request: int, data: bytes, *, last: bool) -> bytes:
    return frames.encode_body_header(request, len(data), last=last) + data


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(_block(2, b"x" * 101, last=True), "more or less", id="too much"),
        pytest.param(_block(2, b"x" * 99, last=True), "more or less", id="too little"),
        pytest.param(_block(2, b"x" * 100, last=False), "more or less", id="no end"),
        pytest.param(_block(2, b"x" * 60, last=False) + _block(2, b"x" * 60, last=True), "more or less", id="too late"),
        pytest.param(_block(77, b"x" * 10, last=True), "nobody asked for", id="unasked"),
        pytest.param(frames.encode(frames.Busy(77, 5)), "never made", id="unasked busy"),
        pytest.param(frames.encode(frames.Hello(1, "x")), "does not send Hello", id="wrong direction"),
        pytest.param(b"\xff" * 64, "no frame of type", id="garbage"),
        pytest.param(_block(2, b"x" * 60, last=False)[:40], "", id="half a block"),
        pytest.param(frames.encode(frames.Goodbye("off to lunch")), "off to lunch", id="goodbye"),
    ],
)
@pytest.mark.parametrize("hashing", [False, True])
async def test_what_a_parent_must_not_answer(
    parents: Parents, child: Child, answer: bytes, reason: str, hashing: bool
) -> None:
    child.hashing = hashing
    parent = parents(_answer(answer))
    await child.connect(TcpTransport(stall=0.4), parent.address)
    await child.subscribe(SHARD)
    child.target.write_bytes(b"." * 300)
    first = child.ask(SHARD, 0, 100, offset=100)
    await until(lambda: child.outcomes[first])
    outcome = child.outcomes[first][0]
    assert isinstance(outcome, Lost)
    assert reason in outcome.reason
    await until(lambda: child.closed)
    assert child.closed == [outcome.reason]
    found = child.target.read_bytes()
    assert (found[:100], found[200:]) == (b"." * 100, b"." * 100)


@pytest.mark.parametrize("hashing", [False, True])
async def test_a_parent_that_falls_silent_in_mid_body(parents: Parents, child: Child, hashing: bool) -> None:
    child.hashing = hashing
    parent = parents(_answer(_block(2, b"x" * 50, last=False)))
    await child.connect(TcpTransport(stall=0.2), parent.address)
    await child.subscribe(SHARD)
    outcome = await child.fetch(SHARD, 0, 100)
    assert isinstance(outcome, Lost)
    assert "Nothing came" in outcome.reason


@pytest.mark.parametrize("hashing", [False, True])
async def test_a_parent_that_closes_in_mid_body(parents: Parents, child: Child, hashing: bool) -> None:
    child.hashing = hashing

    def script(parent: BadParent) -> None:
        parent.say(HELLO_OK)
        parent.hear(frames.Subscribe)
        parent.say(frames.encode(frames.Have.of(1, PieceSet.full(4))))
        parent.hear(frames.Request)
        parent.say(frames.encode_body_header(2, 100, last=True) + b"x" * 50)

    parent = parents(script)
    await child.connect(TcpTransport(), parent.address)
    await child.subscribe(SHARD)
    outcome = await child.fetch(SHARD, 0, 100)
    assert isinstance(outcome, Lost)
    assert "closed the connection" in outcome.reason


async def test_news_of_an_unknown_subscription_are_nobodys(parents: Parents, child: Child) -> None:
    parent = parents(
        _answer(
            frames.encode(frames.Have.of(99, PieceSet.full(4)))
            + frames.encode(frames.SubscribeRefused(99, "who?"))
            + frames.encode(frames.Pong(5))
            + _block(2, b"x" * 100, last=True)
        )
    )
    await child.connect(TcpTransport(), parent.address)
    await child.subscribe(SHARD)
    assert isinstance(await child.fetch(SHARD, 0, 100), Received)
    assert child.told(SHARD) == PieceSet.full(4)


async def test_a_body_that_trickles_keeps_the_connection_alive_and_the_hash_right(
    parents: Parents, child: Child
) -> None:
    """For longer than the stall time, in parts that end anywhere, headers too."""
    content = os.urandom(400_000)
    answer = _block(2, content[:300_000], last=False) + _block(2, content[300_000:], last=True)
    dribbles = [answer[at : at + 40_013] for at in range(0, len(answer), 40_013)]

    def script(parent: BadParent) -> None:
        parent.say(HELLO_OK)
        parent.hear(frames.Subscribe)
        parent.say(frames.encode(frames.Have.of(1, PieceSet.full(4))))
        parent.hear(frames.Request)
        for dribble in dribbles:
            parent.say(dribble)
            parent.done.wait(0.06)
        parent.say(frames.encode(frames.Have.of(1, PieceSet.span(4, 2))))
        parent.done.wait()

    parent = parents(script)
    await child.connect(TcpTransport(stall=0.4), parent.address)
    await child.subscribe(SHARD)
    child.hashing = True
    outcome = await child.fetch(SHARD, 0, len(content))
    assert isinstance(outcome, Received)
    assert outcome.hashed
    assert child.hashes[0].digest() == hashlib.sha256(content).digest()
    assert child.target.read_bytes() == content
    await until(lambda: child.told(SHARD) == PieceSet.full(6))


def _only_say(data: bytes) -> Script:
    def script(parent: BadParent) -> None:
        parent.say(data)
        parent.hear(frames.Hello)

    return script


@pytest.mark.parametrize(
    ("greeting", "sentence"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no piece server"),
        (b"", "closed the connection instead"),
        (frames.MAGIC + frames.encode(frames.HelloOk(2, "x")), "another version"),
        (frames.MAGIC + frames.encode(frames.HelloRefused("full house")), "full house"),
        (frames.MAGIC + frames.encode(frames.Ping(1)), "another version"),
    ],
)
async def test_who_does_not_greet_properly_is_no_parent(
    parents: Parents, child: Child, greeting: bytes, sentence: str
) -> None:
    with pytest.raises(OSError, match=sentence):
        await child.connect(TcpTransport(), parents(_only_say(greeting)).address)


async def test_who_never_answers_the_hello(parents: Parents, child: Child) -> None:
    parent = parents(lambda parent: parent.done.wait() and None)
    with pytest.raises(OSError, match=r"did not answer within 0\.1 s"):
        await child.connect(TcpTransport(connect_timeout=0.1), parent.address)


@pytest.mark.parametrize("address", ["nowhere", "host:", ":1", "host:port", "host:99999", "host:-1"])
async def test_addresses_that_are_none(child: Child, address: str) -> None:
    with pytest.raises(OSError, match="not the address of a parent"):
        await child.connect(TcpTransport(), address)


# --- the child's own troubles ---


@pytest.fixture
async def served(tmp_path: Path, child: Child) -> AsyncIterator[tuple[Shelf, Digest]]:
    """`child` is connected with a parent that holds the shard."""
    shelf = Shelf(tmp_path / "shelf")
    shard = shelf.add(os.urandom(3 << 20), 1 << 20)
    server = TcpPieceServer(shelf, host="127.0.0.1", check=good_capability, node="parent")
    await child.connect(TcpTransport(stall=0.4), server.address)
    await child.subscribe(shard)
    yield shelf, shard
    server.close()


async def test_a_file_the_kernel_cannot_splice_into(child: Child, served: tuple[Shelf, Digest]) -> None:
    shelf, shard = served
    appending = os.open(child.target, os.O_WRONLY | os.O_APPEND)
    child.release()
    child.fd = appending
    for piece in range(3):
        assert isinstance(await child.fetch(shard, piece << 20, 1 << 20), Received)
    assert child.target.read_bytes() == shelf.contents[shard]


async def test_a_full_disk_under_the_file(child: Child, served: tuple[Shelf, Digest]) -> None:
    """What comes is thrown away to its end; the parent goes on being asked."""
    shelf, shard = served
    target, child.fd = child.fd, os.open("/dev/full", os.O_RDWR)
    outcome = await child.fetch(shard, 0, 3 << 20)
    child.release()
    child.fd = target
    assert isinstance(outcome, NotWritten)
    assert outcome.error.errno == errno.ENOSPC
    assert isinstance(await child.fetch(shard, 0, 3 << 20), Received)
    assert child.target.read_bytes() == shelf.contents[shard]
    assert child.closed == []


async def test_a_quiet_connection_is_kept_alive_by_pings(child: Child, served: tuple[Shelf, Digest]) -> None:
    _, shard = served
    clock = threading.Event()
    threading.Timer(1.0, clock.set).start()  # two and a half times the stall
    await until(clock.is_set)
    assert child.closed == []
    assert isinstance(await child.fetch(shard, 0, 1 << 20), Received)


async def test_a_callback_that_fails_does_not_stop_the_others(child: Child, served: tuple[Shelf, Digest]) -> None:
    _, shard = served

    def fail(_outcome: object) -> None:
        raise RuntimeError("a mistake of the caller")

    child.connection.fetch(shard, 0, 1 << 20, Into(child.fd, 0), fail)
    assert isinstance(await child.fetch(shard, 0, 1 << 20), Received)


@pytest.mark.parametrize("length", [0, -1, (1 << 30) + 1])
async def test_lengths_that_cannot_be_asked_for(child: Child, served: tuple[Shelf, Digest], length: int) -> None:
    with pytest.raises(ValueError, match="cannot be requested"):
        child.connection.fetch(served[1], 0, length, Into(child.fd, 0), lambda _: None)


async def test_a_capability_that_cannot_be_carried(child: Child, served: tuple[Shelf, Digest]) -> None:
    with pytest.raises(ValueError, match="too long"):
        child.connection.subscribe(served[1], GOOD * 1000)


async def test_a_shard_that_shrinks_under_the_parent(child: Child, served: tuple[Shelf, Digest]) -> None:
    shelf, shard = served
    os.truncate(shelf.path(shard), 1 << 19)
    assert isinstance(await child.fetch(shard, 0, 1 << 20), Lost)


async def test_many_requests_at_once_outgrow_the_send_buffer_and_are_all_answered(
    child: Child, served: tuple[Shelf, Digest]
) -> None:
    _, shard = served
    for index in range(3000):
        child.ask(shard, index, 1)
    await child.all_settled()
    assert not child.lost
