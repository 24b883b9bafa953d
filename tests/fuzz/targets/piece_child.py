"""A child and what a parent says to it: every fetch ends once, nothing is written but what was asked for, and the
connection ends with a sentence."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from functools import cache

from modeldist.artifact import Digest
from modeldist.scheduler.pieces import PieceSet
from modeldist.transfer import frames
from modeldist.transfer.base import Into, Outcome
from modeldist.transfer.frame_reader import FrameReader
from modeldist.transfer.tcp.parent import TcpPeerConnection
from tests.fuzz.msgpack import WORDS
from tests.fuzz.target import Target
from tests.fuzz.targets.piece_frames import HEADERS, OF_A_CHILD, OF_A_PARENT

SHARD = Digest("sha256:" + "ab" * 32)
SUBSCRIPTION, FIRST, SECOND = 1, 2, 3  # a connection numbers all that it asks in one row
LENGTH = 64
FILE = 4 * LENGTH
UNTOUCHED = b"\xee" * LENGTH


def seeds() -> Iterator[bytes]:
    def body(request: int, length: int, *, last: bool) -> bytes:
        return frames.encode_body_header(request, length, last=last) + bytes(length)

    have = frames.encode(frames.Have.of(SUBSCRIPTION, PieceSet.of([0, 1, 9])))
    whole = body(FIRST, LENGTH, last=True)
    yield have + whole + body(SECOND, 32, last=False) + body(SECOND, 32, last=True)
    yield have + body(SECOND, LENGTH, last=True) + whole + frames.encode(frames.Goodbye("done"))
    yield frames.encode(frames.Busy(FIRST, 5)) + frames.encode(frames.Refused(SECOND, "not here"))
    yield frames.encode(frames.SubscribeRefused(SUBSCRIPTION, "no")) + frames.encode(frames.Pong(7)) + whole
    yield have + body(FIRST, 2 * LENGTH, last=True)
    for frame in (*OF_A_PARENT, OF_A_CHILD[2]):
        yield have + frames.encode(frame)


@cache
def _file() -> int:
    return os.memfd_create("fuzz")


def _greeted() -> FrameReader:
    reader = FrameReader()
    reader.receive(frames.MAGIC + frames.encode(frames.HelloOk(frames.VERSION, "p" * 32)))
    return reader


def check(data: bytes) -> None:
    fd, closed = _file(), threading.Event()
    os.pwrite(fd, b"\xee" * FILE, 0)
    outcomes: dict[int, list[Outcome]] = {FIRST: [], SECOND: []}
    reasons: list[str] = []
    have: list[PieceSet] = []

    def ended(reason: str) -> None:
        reasons.append(reason)
        closed.set()

    here, there = socket.socketpair()
    connection = TcpPeerConnection(
        here,
        _greeted(),
        "10.0.0.1:7421",
        on_have=lambda _, pieces: have.append(pieces),
        on_closed=ended,
        stall=5.0,
        hash_below=200e6,
        rails=None,
        clock=time.monotonic,
    )
    connection.subscribe(SHARD, b"capability")
    connection.fetch(SHARD, 0, LENGTH, Into(fd, LENGTH, hashlib.sha256()), outcomes[FIRST].append)
    connection.fetch(SHARD, LENGTH, LENGTH, Into(fd, 2 * LENGTH, None), outcomes[SECOND].append)
    connection.start()
    with there:
        there.settimeout(8)
        try:
            there.sendall(data)
            there.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it has hung up already
        assert closed.wait(8), "the connection does not end"
    assert len(reasons) == 1 and reasons[0] and len(reasons[0]) < 800
    assert "the log says why" not in reasons[0], "an exception that nobody expected"
    assert all(len(told) == 1 for told in outcomes.values()), outcomes
    found = os.pread(fd, FILE + 1, 0)
    assert found[:LENGTH] == UNTOUCHED and found[3 * LENGTH :] == UNTOUCHED, "bytes were written beside the ranges"


TARGET = Target("piece_child", check, seeds, (*WORDS, *HEADERS), longest=1200, beside=True)
