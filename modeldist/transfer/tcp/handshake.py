"""The first words to a parent, before the connection has a thread: TLS where that is spoken, then hello."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import Protocol

from modeldist.transfer import frames
from modeldist.transfer.frame_reader import Event, FrameReader
from modeldist.transfer.tcp.tls_socket import TlsChannel

_READ = 1 << 16


class Line(Protocol):
    """A connection on the event loop. `hear` gives nothing at its end. Raises OSError."""

    async def say(self, data: bytes) -> None: ...
    async def hear(self, at_most: int) -> bytes: ...


class PlainLine:
    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._loop = asyncio.get_running_loop()

    async def say(self, data: bytes) -> None:
        await self._loop.sock_sendall(self._sock, data)

    async def hear(self, at_most: int) -> bytes:
        return await self._loop.sock_recv(self._sock, at_most)


class TlsLine:
    """Behind TLS. What it hears may be more than was asked for."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        self._below = PlainLine(sock)
        self.channel = TlsChannel(context, as_parent=False)

    async def shake_hands(self, address: str, parent: str) -> None:
        """Raises NoTls, and OSError with a sentence for a parent that is not `parent`."""
        data = b""
        try:
            while True:
                await self._listen(data)
                if self.channel.peer:
                    break
                data = await self._below.hear(_READ)
                if not data:
                    raise OSError(f"The parent at {address} closed the connection instead of beginning TLS.")
        except ssl.SSLCertVerificationError as error:
            raise OSError(
                f"The parent at {address} shows a certificate that is not trusted here: {error.verify_message}."
            ) from error
        except ssl.SSLError as error:
            raise _refused(address, error) from error
        if self.channel.peer != parent:
            raise OSError(
                f"The parent at {address} is node {self.channel.peer} by its certificate; node {parent or 'nobody'} "
                "was expected there."
            )

    async def _listen(self, data: bytes) -> None:
        try:
            self.channel.hear(data)
        finally:
            if words := self.channel.words():
                with contextlib.suppress(ConnectionError):  # why it ended is what was heard
                    await self._below.say(words)

    async def say(self, data: bytes) -> None:
        await self._below.say(self.channel.say(memoryview(data))[1])

    async def hear(self, at_most: int) -> bytes:
        while data := await self._below.hear(max(at_most, _READ)):
            if said := self.channel.hear(data):
                return said
        return b""


async def say_hello(line: Line, address: str, child: str) -> tuple[FrameReader, int]:
    """The reader, right after the parent's HelloOk, and the version of lanes that the parent opens. Raises OSError with
    a sentence."""
    reader = FrameReader()
    events: list[Event] = []
    try:
        await line.say(frames.MAGIC + frames.encode(frames.Hello(frames.VERSION, child)))
        while not events:
            data = await line.hear(reader.wants)
            if not data:
                raise OSError(f"The parent at {address} closed the connection instead of answering.")
            events = reader.receive(data)
    except frames.ProtocolError:
        raise OSError(f"What listens at {address} is no piece server.") from None
    except ssl.SSLError as error:  # TLS 1.3: only now the parent has looked at our certificate
        raise _refused(address, error) from error
    match events[0]:
        case frames.HelloOk(version=frames.VERSION, lanes=lanes):
            return reader, lanes
        case frames.HelloRefused(reason=reason):
            raise OSError(f"The parent at {address} refused the connection: {reason}")
        case _:
            raise OSError(f"The parent at {address} speaks another version of the piece protocol.")


def _refused(address: str, error: ssl.SSLError) -> OSError:
    reason = (error.reason or str(error)).lower().replace("_", " ")
    return OSError(f"The parent at {address} and this node cannot agree on TLS: {reason}.")
