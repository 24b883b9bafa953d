"""Connecting to a parent over TCP: resolve, connect, TLS, say hello. Then the connection's own thread takes over."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import time
import weakref
from collections.abc import Callable

from modeldist.transfer import frames
from modeldist.transfer.base import OnClosed, OnHave
from modeldist.transfer.frame_reader import FrameReader
from modeldist.transfer.tcp.addresses import split_address
from modeldist.transfer.tcp.handshake import PlainLine, TlsLine, say_hello
from modeldist.transfer.tcp.parent import TcpPeerConnection
from modeldist.transfer.tcp.socket_tuning import tune, tune_receiver
from modeldist.transfer.tcp.tls_socket import NoTls, TlsSocket
from modeldist.transfer.tls.security import PieceSecurity
from modeldist.transfer.verbs.rails import NodeRails

log = logging.getLogger(__name__)


class TcpTransport:
    """`connect_timeout`: seconds to a finished hello. `stall`: seconds without a byte from the parent after which the
    connection is lost (a live parent answers pings). `hash_below`: bytes/s from one parent up to which the thread that
    receives a range also hashes it; from a faster one it only moves bytes. `rails`: RDMA is asked for where a parent
    has it and TLS is not spoken. `security`: whether it is, and what this node shows. `clock` in seconds, monotonic."""

    def __init__(
        self,
        *,
        connect_timeout: float = 5.0,
        stall: float = 15.0,
        hash_below: float = 200e6,
        rails: NodeRails | None = None,
        security: PieceSecurity | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connect_timeout = connect_timeout
        self._stall = stall
        self._hash_below = hash_below
        self._rails = rails
        self._security = security or PieceSecurity()
        self._clock = clock
        self._in_the_clear: weakref.WeakSet[TcpPeerConnection] = weakref.WeakSet()

    async def connect(
        self, address: str, *, child: str, on_have: OnHave, on_closed: OnClosed, parent: str = ""
    ) -> TcpPeerConnection:
        """Raises OSError with a sentence when the parent cannot be reached, is another node than `parent`, or speaks
        another protocol version, or no TLS where that is required."""
        try:
            async with asyncio.timeout(self._connect_timeout):
                sock, reader, lanes = await self._reach(address, child, parent)
        except TimeoutError:
            raise OSError(f"The parent at {address} did not answer within {self._connect_timeout:g} s.") from None
        except OSError as error:
            if error.errno is None:
                raise
            raise OSError(f"The parent at {address} cannot be reached: {error.strerror}.") from error
        if self._security.required and not isinstance(sock, TlsSocket):  # since a moment ago
            sock.close()
            raise OSError(f"The parent at {address} was reached in the clear, which this cluster no longer allows.")
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
        if not isinstance(sock, TlsSocket):
            self._in_the_clear.add(connection)
        connection.start()
        return connection

    def security_changed(self) -> None:
        """What is read in the clear ends, where that is no longer allowed. On the loop that connects."""
        if self._security.required:
            for connection in list(self._in_the_clear):
                connection.hang_up()

    async def _reach(self, address: str, child: str, parent: str) -> tuple[socket.socket, FrameReader, int]:
        contexts = self._security.contexts
        if contexts is not None:
            try:
                return await _securely(contexts.child, address, child, parent)
            except NoTls:
                if self._security.required:
                    raise OSError(
                        f"The parent at {address} speaks no TLS, which this cluster requires between nodes."
                    ) from None
                log.info("the parent at %s speaks no TLS, which this cluster does not require", address)
        elif self._security.required:
            raise OSError(
                "This node has no certificate, and its cluster requires TLS between nodes: enrol it with a join token."
            )
        return await _plainly(address, child)


async def _securely(
    context: ssl.SSLContext, address: str, child: str, parent: str
) -> tuple[socket.socket, FrameReader, int]:
    """Nothing that comes by RDMA: that would be in the clear. Raises NoTls."""
    sock = await _open(*split_address(address))
    try:
        line = TlsLine(sock, context)
        await line.shake_hands(address, parent)
        reader, _ = await say_hello(line, address, child)
        return TlsSocket(sock, line.channel), reader, 0
    except BaseException:
        sock.close()
        raise


async def _plainly(address: str, child: str) -> tuple[socket.socket, FrameReader, int]:
    sock = await _open(*split_address(address))
    try:
        return sock, *await say_hello(PlainLine(sock), address, child)
    except BaseException:
        sock.close()
        raise


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
