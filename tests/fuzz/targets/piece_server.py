"""A piece server and what a stranger says to it over TCP: it answers, or says goodbye, and serves the next one.

An input is all that one connection brings, after the shard's true capability is put where a seed has the word for it.
"""

from __future__ import annotations

import atexit
import select
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from modeldist.scheduler.pieces import PieceSet
from modeldist.transfer import frames
from modeldist.transfer.frame_reader import FrameReader
from modeldist.transfer.tcp import ServerTimeouts, TcpPieceServer
from modeldist.transfer.tcp.introduction import _STRANGER
from tests.fuzz.msgpack import WORDS
from tests.fuzz.target import Target
from tests.fuzz.targets.piece_frames import END, HEADERS, OF_A_PARENT
from tests.unit.transfer.shelf import GOOD, Shelf, good_capability

CONTENT = bytes(range(256)) * 64
PIECE = 4096


class House:
    def __init__(self) -> None:
        home = Path(tempfile.mkdtemp(prefix="fuzz-pieces-"))
        atexit.register(shutil.rmtree, home, ignore_errors=True)
        self.shelf = Shelf(home / "shelf")
        self.shard = self.shelf.add(CONTENT, PIECE, PieceSet.of([0, 1, 3]))
        self.broken: list[BaseException | None] = []
        threading.excepthook = lambda failed: self.broken.append(failed.exc_value)
        self.server = TcpPieceServer(
            self.shelf,
            host="127.0.0.1",
            check=good_capability,
            node="p" * 32,
            timeouts=ServerTimeouts(hello=5.0, subscribe=5.0, idle=5.0, silent=5.0, stall=5.0),
        )
        atexit.register(self.server.close)
        host, _, port = self.server.address.rpartition(":")
        self.where = host, int(port)

    def say(self, data: bytes) -> bytes:
        """All that is answered."""
        heard = b""
        with socket.create_connection(self.where, timeout=8) as sock:
            try:
                sock.sendall(data)
                if len(data) % 4 == 0:  # somebody who waits for what was asked
                    heard += _until_silence(sock)
                sock.shutdown(socket.SHUT_WR)
                while part := sock.recv(1 << 16):
                    heard += part
            except ConnectionError:
                pass
        return heard


def _until_silence(sock: socket.socket) -> bytes:
    heard = b""
    while select.select([sock], [], [], 0.004)[0] and (part := sock.recv(1 << 16)):
        heard += part
    return heard


@cache
def house() -> House:
    return House()


def seeds() -> Iterator[bytes]:
    shard = house().shard
    hello = frames.MAGIC + frames.encode(frames.Hello(frames.VERSION, "c" * 32))
    subscribe = frames.encode(frames.Subscribe(1, shard, GOOD))
    said: tuple[tuple[frames.Control, ...], ...] = (
        (frames.Request(1, 1, 0, 5000), frames.Request(2, 1, 2 * PIECE, 10), frames.Ping(3), frames.Goodbye("done")),
        (frames.Request(1, 1, 3 * PIECE, PIECE), frames.Unsubscribe(1), frames.Request(2, 1, 0, 1), frames.Ping(3)),
        (frames.LanesWanted([END]), frames.Request(1, 1, 0, 100, 0), frames.Landed(1), frames.LaneClosed(0, "no")),
        (frames.Subscribe(2, shard, b"bad"), frames.Subscribe(1, shard, GOOD), frames.Request(9, 7, 0, 1)),
    )
    for rest in said:
        yield hello + subscribe + b"".join(map(frames.encode, rest))
    yield hello + subscribe + b"".join(map(frames.encode, OF_A_PARENT[:1]))
    yield frames.MAGIC + frames.encode(frames.Hello(9, "c" * 32))
    yield b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


def check(data: bytes) -> None:
    here = house()
    heard = here.say(data)
    assert not here.broken, here.broken
    if heard != _STRANGER:
        FrameReader().receive(heard)
    assert len(heard) <= 4096 + 64 * (len(data) + len(CONTENT)), f"{len(heard)} bytes for {len(data)}"


TARGET = Target("piece_server", check, seeds, (*WORDS, *HEADERS, frames.MAGIC, GOOD), longest=1200, beside=True)
