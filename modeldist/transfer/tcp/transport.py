"""Connecting to a parent over TCP: resolve, connect, say hello. Afterwards the connection's own thread takes over."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable

from modeldist.transfer import frames
from modeldist.transfer.base import OnClosed, OnHave
from modeldist.transfer.frame_reader import Event, FrameReader
from modeldist.transfer.tcp.addresses import split_address
from modeldist.transfer.tcp.parent import TcpPeerConnection
from modeldist.transfer.tcp.socket_tuning import tune, tune_receiver
from modeldist.transfer.verbs.rails import NodeRails


class TcpTransport:
    """`connect_timeout`: seconds to a finished hello. `stall`: seconds without a byte from the parent after which the
    connection is lost (a live parent answers pings). `hash_below`: bytes/s from one parent up to which the thread that
    receives a range also hashes it; from a faster one it only moves bytes. `rails`: RDMA is asked for where a parent
    has it. `clock` in seconds, monotonic."""

    def __init__(
        self,
        *,
        connect_timeout: float = 5.0,
        stall: float = 15.0,
        hash_below: float = 200e6,
        rails: NodeRails | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connect_timeout = connect_timeout
        self._stall = stall
        self._hash_below = hash_below
        self._rails = rails
        self._clock = clock

    async def connect(self, address: str, *, child: str, on_have: OnHave, on_closed: OnClosed) -> TcpPeerConnection:
        """Raises OSError with a sentence when the parent cannot be reached or speaks another protocol version."""
        host, port = split_address(address)
        sock: socket.socket | None = None
        try:
            async with asyncio.timeout(self._connect_timeout):
                sock = await _open(host, port)
                reader, lanes = await _say_hello(sock, address, child)
        except TimeoutError:
            _close(sock)
            raise OSError(f"The parent at {address} did not answer within {self._connect_timeout:g} s.") from None
        except OSError as error:
            _close(sock)
            if error.errno is None:
                raise
            raise OSError(f"The parent at {address} cannot be reached: {error.strerror}.") from error
        except BaseException:
            _close(sock)
            raise
        sock.setblocking(True)
        tune(sock, stall=self._stall)
        tune_receiver(sock, tick=self._stall / 8)
        connection = TcpPeerConnection(
            sock,
            reader,
            address,
            on_have=on_have,
            on_closed=on_closed,
            stall=self._stall,
            hash_below=self._hash_below,
            rails=self._rails if lanes == frames.LANES_VERSION else None,
            clock=self._clock,
        )
        connection.start()
        return connection


def _close(sock: socket.socket | None) -> None:
    if sock is not None:
        sock.close()


async def _open(host: str, port: int) -> socket.socket:
    loop = asyncio.get_running_loop()
    failure: OSError | None = None
    for family, kind, _, _, where in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        sock = socket.socket(family, kind)
        sock.setblocking(False)
        try:
            await loop.sock_connect(sock, where)
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failure or OSError(f"{host} has no address.")


async def _say_hello(sock: socket.socket, address: str, child: str) -> tuple[FrameReader, int]:
    """The reader, right after the parent's HelloOk, and the version of lanes that the parent opens."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, frames.MAGIC + frames.encode(frames.Hello(frames.VERSION, child)))
    reader = FrameReader()
    events: list[Event] = []
    while not events:
        data = await loop.sock_recv(sock, reader.wants)
        if not data:
            raise OSError(f"The parent at {address} closed the connection instead of answering.")
        try:
            events = reader.receive(data)
        except frames.ProtocolError:
            raise OSError(f"What listens at {address} is no piece server.") from None
    match events[0]:
        case frames.HelloOk(version=frames.VERSION, lanes=lanes):
            return reader, lanes
        case frames.HelloRefused(reason=reason):
            raise OSError(f"The parent at {address} refused the connection: {reason}")
        case _:
            raise OSError(f"The parent at {address} speaks another version of the piece protocol.")
