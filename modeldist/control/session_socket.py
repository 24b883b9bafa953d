"""The server's end of a WebSocket, for uvicorn: the handshake goes through the application as ASGI has it, and then a
conversation gets the frames, without a task, a queue or a timer of its own.

Framing is the `websockets` library's. What uvicorn brings itself took three times the memory per agent, and per message
two system calls more, to pause and resume reading (docs/adr/0012-agent-sessions.md).
"""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus
from typing import Any, Protocol, cast
from urllib.parse import unquote

from uvicorn.config import Config
from uvicorn.server import ServerState
from websockets.datastructures import Headers
from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol

log = logging.getLogger(__name__)

EXTENSION = "modeldist.frames"  # in an ASGI scope: this socket, whose frames a conversation may take
CLOSE_WITHIN = 2.0  # seconds a close may take; an agent that does not read cannot take it
UNSENT = 64 << 10  # bytes of frames collected before they are written
GONE = 1006
ENDED = 1000
RESTARTS = 1012
FAILED = 1011


class TakesFrames(Protocol):
    """See `conversation.Conversation`."""

    def received(self, data: bytes | str) -> None: ...
    def writable(self) -> None: ...
    def lost(self, code: int) -> None: ...
    def check(self, now: float) -> None: ...


class _Gone(ConnectionResetError):
    """The connection is closing, so nothing can be said by it."""


class SessionSocket(asyncio.Protocol):
    """A `conversation.Frames`, and what uvicorn takes for a WebSocket protocol. `clogged`: more than the transport's
    limit is unsent."""

    __slots__ = (
        "_answer",
        "_app",
        "_asgi",
        "_connections",
        "_fragments",
        "_heard_at",
        "_in_text",
        "_loop",
        "_pinged_at",
        "_taker",
        "_tasks",
        "_transport",
        "_unsent",
        "_websocket",
        "clogged",
    )

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._app = config.loaded_app
        self._connections = cast("set[SessionSocket]", server_state.connections)
        self._tasks = server_state.tasks
        self._loop = _loop or asyncio.get_running_loop()
        self._websocket = ServerProtocol(max_size=config.ws_max_size, logger=log)
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # set before anything else happens
        self._answer: Response | None = None  # to the handshake, until it is sent
        self._asgi: asyncio.Queue[dict[str, Any]] | None = None  # what the application has not received yet
        self._taker: TakesFrames | None = None
        self._fragments: bytearray | None = None  # of one message; each by itself would take many times its length
        self._in_text = False
        self._unsent = 0
        self._heard_at = self._loop.time()
        self._pinged_at: float | None = None
        self.clogged = False

    # --- what asyncio and uvicorn call ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        if self._answer is not None:  # while their token is looked up anybody could have us keep what they like
            self._transport.abort()
            return
        self._heard_at = self._loop.time()
        self._pinged_at = None
        self._websocket.receive_data(data)
        for event in self._websocket.events_received():
            if isinstance(event, Frame):
                self._frame(event)
            else:
                self._request(cast(Request, event))
        self.flush()

    def eof_received(self) -> None:
        self._websocket.receive_eof()
        self.flush()

    def pause_writing(self) -> None:
        """Nothing more is heard of an agent that does not read: its pings alone would fill the memory with answers."""
        self.clogged = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self.clogged = False
        self._heard_at = self._loop.time()  # it took something, so it lives
        self._pinged_at = None
        self._transport.resume_reading()
        if self._taker is not None:
            self._taker.writable()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        closed = self._websocket.close_rcvd
        code = GONE if closed is None else closed.code
        if self._taker is not None:
            self._taker.lost(code)
        elif self._asgi is not None:
            self._asgi.put_nowait({"type": "websocket.disconnect", "code": code})

    def shutdown(self) -> None:
        """The server stops."""
        if self._answer is not None:
            self._respond(self._websocket.reject(HTTPStatus.SERVICE_UNAVAILABLE, "The control plane stops.\n"))
        else:
            self.close(RESTARTS, "the control plane stops")
        self._transport.close()

    def check(self, now: float, silence: float) -> None:
        """Time passed (seconds of the loop's clock): an agent not heard for `silence` seconds is asked for a sign, and
        dropped when it gives none for as long again."""
        if self._taker is not None:
            self._taker.check(now)
        if self._websocket.state is not State.OPEN or now - self._heard_at <= silence:
            return
        if self._pinged_at is None:
            self._pinged_at = now
            self._websocket.send_ping(b"")
            self.flush()
        elif now - self._pinged_at > silence:
            self.close(FAILED, "no answer to a ping")
            self._transport.abort()

    # --- frames -----------------------------------------------------------------------------------------------------

    def hand_over(self, taker: TakesFrames) -> None:
        """From now on `taker` gets the frames, until it is told that the connection is lost. The application may
        return."""
        self._taker = taker
        asgi, self._asgi = self._asgi, None
        while asgi is not None and not asgi.empty():  # what came between the handshake and now
            event = asgi.get_nowait()
            if event["type"] == "websocket.receive":
                taker.received(event["bytes"] if event.get("bytes") is not None else event["text"])
            elif event["type"] == "websocket.disconnect":
                taker.lost(event["code"])

    def send(self, frame: bytes) -> None:
        try:
            self._websocket.send_binary(frame)
        except InvalidState:
            return
        self._unsent += len(frame)
        if self._unsent > UNSENT:
            self.flush()

    def flush(self) -> None:
        self._unsent = 0
        output = self._websocket.data_to_send()
        if not output:
            return
        if not self._transport.is_closing():
            self._transport.write(output[0] if len(output) == 1 else b"".join(output))
        if not output[-1]:  # the library's sign for the end of the stream
            self._transport.close()

    def close(self, code: int, reason: str) -> None:
        if self._websocket.state is State.OPEN:
            self._websocket.send_close(code, reason)
            self.flush()
            self._loop.call_later(CLOSE_WITHIN, self._transport.abort)

    def _frame(self, frame: Frame) -> None:
        if frame.opcode in (Opcode.BINARY, Opcode.TEXT) and frame.fin:
            self._message(bytes(frame.data), frame.opcode is Opcode.TEXT)
        elif frame.opcode in (Opcode.BINARY, Opcode.TEXT):
            self._fragments, self._in_text = bytearray(frame.data), frame.opcode is Opcode.TEXT
        elif frame.opcode is Opcode.CONT and self._fragments is not None:
            self._fragments += frame.data
            if frame.fin:
                whole, self._fragments = bytes(self._fragments), None
                self._message(whole, self._in_text)

    def _message(self, data: bytes, text: bool) -> None:
        said = data.decode(errors="replace") if text else data
        if self._taker is not None:
            self._taker.received(said)
        elif self._asgi is not None:
            self._asgi.put_nowait({"type": "websocket.receive", "text" if text else "bytes": said})

    # --- the handshake, through the application ---------------------------------------------------------------------

    def _request(self, request: Request) -> None:
        answer = self._websocket.accept(request)
        if answer.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            self._respond(answer)
            return
        self._answer = answer
        self._asgi = asyncio.Queue()
        self._asgi.put_nowait({"type": "websocket.connect"})
        task = self._loop.create_task(self._run(self._scope(request)), name="handshake")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _scope(self, request: Request) -> dict[str, Any]:
        path, _, query = request.path.partition("?")
        secure = self._transport.get_extra_info("sslcontext") is not None
        return {
            "type": "websocket",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "wss" if secure else "ws",
            "server": _address(self._transport.get_extra_info("sockname")),
            "client": _address(self._transport.get_extra_info("peername")),
            "root_path": "",
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), text.encode("latin-1")) for name, text in request.headers.raw_items()],
            "subprotocols": [],
            "state": {},
            "extensions": {"websocket.http.response": {}, EXTENSION: self},
        }

    async def _run(self, scope: dict[str, Any]) -> None:
        code, reason = ENDED, ""
        try:
            await self._app(scope, self._receive, self._send)
        except _Gone:
            return  # no failure of ours, and anybody could fill the log with tracebacks of it
        except Exception:
            log.exception("a WebSocket could not be served")
            code, reason = FAILED, "the control plane failed; its log has the traceback"
        if self._answer is not None:
            self._respond(self._websocket.reject(HTTPStatus.INTERNAL_SERVER_ERROR, f"{reason}\n"))
        elif self._taker is None:
            self.close(code, reason)

    async def _receive(self) -> dict[str, Any]:
        if self._asgi is None:
            raise RuntimeError("a conversation has taken the frames")
        return await self._asgi.get()

    async def _send(self, message: dict[str, Any]) -> None:
        if self._transport.is_closing():
            raise _Gone("the agent is gone")
        match message["type"]:
            case "websocket.accept" if self._answer is not None:
                answer, self._answer = self._answer, None
                self._websocket.send_response(answer)
            case "websocket.close" if self._answer is not None:
                self._respond(self._websocket.reject(HTTPStatus.FORBIDDEN, ""))
            case "websocket.close":
                self.close(message.get("code", ENDED), message.get("reason") or "")
            case "websocket.http.response.start" if self._answer is not None:
                headers = [(name.decode("latin-1"), text.decode("latin-1")) for name, text in message["headers"]]
                status = HTTPStatus(message["status"])
                self._answer = Response(status, status.phrase, Headers(headers), b"")
            case "websocket.http.response.body" if self._answer is not None:
                self._answer.body = (self._answer.body or b"") + bytes(message.get("body", b""))
                if not message.get("more_body", False):
                    self._respond(self._answer)
            case "websocket.send" if message.get("bytes") is not None:
                self.send(message["bytes"])
            case "websocket.send":
                self._websocket.send_text(message["text"].encode())
        self.flush()

    def _respond(self, answer: Response) -> None:
        """Refuse the handshake."""
        self._answer = None
        answer.headers.setdefault("Content-Length", str(len(answer.body or b"")))
        answer.headers.setdefault("Connection", "close")
        self._websocket.send_response(answer)
        self.flush()
        self._transport.close()


def _address(name: object) -> tuple[str, int] | None:
    return (str(name[0]), int(name[1])) if isinstance(name, tuple) else None
