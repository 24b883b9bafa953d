"""Closing a piece server ends every connection, whatever its child is doing."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path

from modeldist.transfer import frames
from modeldist.transfer.tcp import TcpPieceServer
from tests.unit.transfer.shelf import GOOD, Shelf, good_capability, until


async def test_children_that_take_nothing_do_not_hold_it_up(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "shelf")
    shard = shelf.add(b"x" * (32 << 20), 1 << 20)
    server = TcpPieceServer(shelf, host="127.0.0.1", check=good_capability, node="parent")
    host, _, port = server.address.rpartition(":")
    stuck = [socket.create_connection((host, int(port))) for _ in range(8)]
    hello = frames.MAGIC + frames.encode(frames.Hello(frames.VERSION, "stuck"))
    want = frames.encode(frames.Subscribe(1, shard, GOOD)) + frames.encode(frames.Request(1, 1, 0, 32 << 20))
    for sock in stuck:
        sock.sendall(hello + want)
    await until(lambda: server.load().requests == 8)
    server.close()
    for sock in stuck:
        sock.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("serve")]
    assert server.load().requests == 0
    assert shelf.open_now == 0


async def test_a_stranger_in_the_hall_does_not_hold_it_up(tmp_path: Path) -> None:
    server = TcpPieceServer(Shelf(tmp_path / "shelf"), host="127.0.0.1", check=good_capability, node="parent")
    host, _, port = server.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=20) as sock:
        sock.sendall(frames.MAGIC)
        server.close()
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(100) == b""
