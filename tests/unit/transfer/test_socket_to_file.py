"""The end of a body that goes through the buffer, or is thrown away, is not waited for longer than it takes to come."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modeldist.socket_to_file import NotWritable, SocketToFile

MUCH = 100_000  # bytes; more than are waited for while more is to come
REST = 1_000


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sender = socket.create_connection(listener.getsockname())
        receiver, _ = listener.accept()
    with sender, receiver:
        yield sender, receiver


def test_a_file_that_cannot_be_spliced_into(pair: tuple[socket.socket, socket.socket], tmp_path: Path) -> None:
    fd = os.open(tmp_path / "into", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    sender, receiver = pair
    moving = SocketToFile(receiver)

    def take(count: int) -> None:
        while count:
            count -= moving.move(fd, 0, count)

    try:
        sender.sendall(bytes(MUCH))
        take(MUCH)
        assert not moving.zero_copy
        _in_time(lambda: take(REST), sender)
    finally:
        moving.close()
        os.close(fd)
    assert (tmp_path / "into").stat().st_size == MUCH + REST


def test_what_is_thrown_away(pair: tuple[socket.socket, socket.socket]) -> None:
    fd = os.open("/dev/full", os.O_WRONLY)
    sender, receiver = pair
    moving = SocketToFile(receiver)

    def discard(count: int) -> None:
        while count:
            count -= moving.discard(count)

    try:
        sender.sendall(bytes(MUCH))
        with pytest.raises(NotWritable) as failure:
            moving.move(fd, 0, MUCH)
        discard(MUCH - failure.value.taken)
        _in_time(lambda: discard(REST), sender)
    finally:
        moving.close()
        os.close(fd)


def _in_time(take: Callable[[], None], sender: socket.socket) -> None:
    """The sender sends the rest and then nothing more."""
    taking = threading.Thread(target=take, daemon=True)
    taking.start()
    sender.sendall(bytes(REST))
    taking.join(20)
    assert not taking.is_alive()
