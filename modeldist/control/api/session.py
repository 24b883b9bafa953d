"""One agent's WebSocket: carries messages between it and the core, and closes with a reason."""

from __future__ import annotations

import asyncio
import logging
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends
from starlette.websockets import WebSocket, WebSocketDisconnect

from modeldist.control.agent_session import AgentSession
from modeldist.control.api.authentication import Needs, Plane
from modeldist.control.core import ControlCore
from modeldist.control.store.tokens import Token
from modeldist.errors import ControlPlaneRefused
from modeldist.session.messages import PATH, FromAgent, Hello, Refused, decode_from_agent, encode

log = logging.getLogger(__name__)
router = APIRouter()

AgentToken = Annotated[Token, Depends(Needs("admin", "agent"))]

HELLO_WITHIN = 10.0  # seconds from the handshake to Hello
CLOSE_WITHIN = 2.0  # seconds a close may take; an agent that does not read cannot take it

GOODBYE = (1000, 1001)  # how an agent closes when it stops; a connection that breaks has other codes
GOING_AWAY = 1001
NOT_BINARY = 1003
MALFORMED = 1007
VIOLATION = 1008
BROKEN = 1011


class _Ended(Exception):
    """The session is over, for a reason that the agent is told."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@router.websocket(PATH)
async def session(
    websocket: WebSocket, plane: Plane, token: Annotated[Token, Depends(Needs("admin", "agent"))]
) -> None:
    """Speak `modeldist.session.messages` with an agent until one side ends."""
    try:
        await websocket.accept()
        await _greet_and_carry(websocket, plane.core, token)
    except WebSocketDisconnect:
        return
    except _Ended as ended:
        await _close(websocket, ended.code, ended.reason)


async def _greet_and_carry(websocket: WebSocket, core: ControlCore, token: Token) -> None:
    try:
        async with asyncio.timeout(HELLO_WITHIN):
            hello = await _receive(websocket)
    except TimeoutError:
        raise _Ended(VIOLATION, f"no greeting within {HELLO_WITHIN:.0f} seconds") from None
    if not isinstance(hello, Hello):
        raise _Ended(VIOLATION, "the first message must be a greeting")
    try:
        opened = core.connect(hello)
    except ControlPlaneRefused as refused:
        log.warning("refused an agent: %s", refused)
        await websocket.send_bytes(encode(Refused(refused.info())))
        raise _Ended(VIOLATION, refused.message) from None
    log.info("agent %s (%s) connected with token %r", opened.node, hello.name, token.name)
    reason, lost = "the connection was lost", True
    try:
        await websocket.send_bytes(encode(opened.welcome))
        await _carry(websocket, core, opened)
    except WebSocketDisconnect as end:
        if end.code in GOODBYE:
            reason, lost = "the agent said goodbye", False
        raise
    except _Ended as ended:
        reason = ended.reason
        raise
    finally:
        core.disconnect(opened, reason, lost=lost)
        log.info("agent %s disconnected: %s", opened.node, opened.outbox.closed)


async def _carry(websocket: WebSocket, core: ControlCore, opened: AgentSession) -> None:
    """Both directions at once; the first to end decides why."""
    reading = asyncio.create_task(_read(websocket, core, opened))
    writing = asyncio.create_task(_write(websocket, opened))
    # Waited for on its own, because a writer whose agent does not read is stuck in sending.
    closed = asyncio.create_task(opened.outbox.wait_closed())
    tasks = (closed, reading, writing)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    if isinstance(results[0], str):
        raise _Ended(GOING_AWAY, results[0])
    for result in results[1:]:
        if isinstance(result, Exception):
            raise result


async def _read(websocket: WebSocket, core: ControlCore, opened: AgentSession) -> None:
    while True:
        message = await _receive(websocket)
        try:
            core.receive(opened, message)
        except ControlPlaneRefused as refused:
            raise _Ended(VIOLATION, refused.message) from None
        except Exception:
            log.exception("a message of agent %s could not be handled", opened.node)
            raise _Ended(BROKEN, "the control plane failed on this message; its log has the traceback") from None


async def _write(websocket: WebSocket, opened: AgentSession) -> None:
    async for message in opened.outbox.drain():
        await websocket.send_bytes(encode(message))


async def _receive(websocket: WebSocket) -> FromAgent:
    frame = await websocket.receive()
    if frame["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(frame.get("code", 1006))
    data = frame.get("bytes")
    if data is None:
        raise _Ended(NOT_BINARY, "messages are binary frames")
    try:
        return decode_from_agent(data)
    except (msgspec.DecodeError, RecursionError) as error:  # ValidationError is a DecodeError
        raise _Ended(MALFORMED, f"not a message of an agent: {error}") from None


async def _close(websocket: WebSocket, code: int, reason: str) -> None:
    """Say why and close; a peer that is gone or stuck is left to the transport's own timeouts."""
    try:
        async with asyncio.timeout(CLOSE_WITHIN):
            await websocket.close(code, _short(reason))
    except (TimeoutError, WebSocketDisconnect, RuntimeError):
        return


def _short(reason: str) -> str:
    """A close frame holds 123 bytes."""
    return reason.encode()[:123].decode(errors="ignore")
