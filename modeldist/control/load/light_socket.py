"""The client's end of a WebSocket as callbacks: the protocol is the `websockets` library's, without a task of its own.

Five thousand of the library's own connections in one process would be slower than the server they measure.
"""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.uri import WebSocketURI


class Listener(Protocol):
    """Who is told what happens to a socket."""

    def opened(self) -> None: ...
    def received(self, frame: bytes) -> None: ...
    def lost(self, reason: str) -> None: ...


class LightSocket(asyncio.Protocol):
    """Sends the handshake with the token, then frames. `lost` is called once, however it ends."""

    def __init__(self, uri: WebSocketURI, token: str, listener: Listener) -> None:
        self._websocket = ClientProtocol(uri, max_size=None)
        self._token = token
        self._listener = listener
        self._reason = "the connection broke"
        self._transport: asyncio.Transport | None = None
        self.backlogged = False  # the other side takes nothing

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        request = self._websocket.connect()
        request.headers["Authorization"] = f"Bearer {self._token}"
        self._websocket.send_request(request)
        self._flush()

    def data_received(self, data: bytes) -> None:
        self._websocket.receive_data(data)
        for event in self._websocket.events_received():
            if isinstance(event, Response):
                self._answered(event)
            elif isinstance(event, Frame) and event.opcode is Opcode.BINARY and event.fin:
                self._listener.received(bytes(event.data))
        self._flush()
        closed = self._websocket.close_rcvd
        if closed is not None:
            self._reason = f"{closed.code} {closed.reason}"
            self.close()

    def _answered(self, response: Response) -> None:
        if self._websocket.handshake_exc is None:
            self._listener.opened()
        else:
            self._reason = f"HTTP {response.status_code}"
            self.close()

    def send(self, message: bytes) -> None:
        if self._websocket.state is State.OPEN:
            self._websocket.send_binary(message)
            self._flush()

    def _flush(self) -> None:
        if self._transport is not None and (output := self._websocket.data_to_send()):
            self._transport.write(b"".join(output))

    def stop_reading(self) -> None:
        """From now on whatever the other side sends stays in the kernel."""
        if self._transport is not None:
            self._transport.pause_reading()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def pause_writing(self) -> None:
        self.backlogged = True

    def resume_writing(self) -> None:
        self.backlogged = False

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._listener.lost(self._reason if exc is None else str(exc))
