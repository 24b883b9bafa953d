"""A child whose every frame the test writes."""

from __future__ import annotations

import socket

from modeldist.transfer import frames
from modeldist.transfer.frame_reader import Event, FrameReader
from modeldist.transfer.tcp import TcpPieceServer


class RawChild:
    """A child written by hand, for saying what a proper one never says."""

    def __init__(self, server: TcpPieceServer) -> None:
        host, _, port = server.address.rpartition(":")
        self.sock = socket.create_connection((host, int(port)), timeout=20)
        self.reader = FrameReader()
        self.events: list[Event] = []

    def say(self, *items: frames.Control | bytes) -> RawChild:
        self.sock.sendall(b"".join(item if isinstance(item, bytes) else frames.encode(item) for item in items))
        return self

    def hello(self, version: int = frames.VERSION) -> RawChild:
        return self.say(frames.MAGIC, frames.Hello(version, "raw"))

    def next(self) -> Event:
        while not self.events:
            data = self.sock.recv(self.reader.wants)
            assert data, "the server closed"
            self.events += self.reader.receive(data)
        return self.events.pop(0)

    def rest(self) -> bytes:
        """Everything until the server closes."""
        found = b""
        try:
            while data := self.sock.recv(65536):
                found += data
        except ConnectionResetError:
            pass
        return found
