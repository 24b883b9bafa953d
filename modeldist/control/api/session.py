"""One agent's WebSocket: who may open it, and who carries it from then on."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.websockets import WebSocket, WebSocketDisconnect

from modeldist.control.api.audit import SessionRecord
from modeldist.control.api.authentication import Needs, Plane
from modeldist.control.asgi_frames import AsgiFrames
from modeldist.control.conversation import Conversation, Frames
from modeldist.control.greeting import check_enrolled
from modeldist.control.session_socket import EXTENSION, SessionSocket
from modeldist.control.store.tokens import Token
from modeldist.scheduler.messages import Priority
from modeldist.session.messages import PATH, Hello

router = APIRouter()


@router.websocket(PATH)
async def session(
    websocket: WebSocket, plane: Plane, token: Annotated[Token, Depends(Needs("admin", "agent", "node"))]
) -> None:
    """Speak `modeldist.session.messages` with an agent until one side ends."""
    rooms = plane.rooms
    rooms.take(rooms.sessions, token.id, Priority.SERVING)
    leave = partial(rooms.free, rooms.sessions, token.id)
    try:
        await websocket.accept()
    except WebSocketDisconnect:
        leave()
        return
    except BaseException:
        leave()
        raise
    clock = asyncio.get_running_loop().time
    node = token.name if token.scope == "node" else ""
    record = SessionRecord(websocket)
    admits = partial(
        check_enrolled,
        node=node,
        required=plane.settings.piece_tls == "require",
        enrolled=plane.token_watch.enrolled,
    )

    def welcomed(hello: Hello) -> None:
        record.of(f"{hello.node} {hello.name}".rstrip())

    def ended() -> None:
        leave()
        record.of(node)

    def conversation(frames: Frames) -> Conversation:
        return Conversation(
            frames,
            plane.core,
            plane.delivery,
            clock,
            token.name,
            holder=token.id,
            leave=ended,
            admits=admits,
            welcomed=welcomed,
        )

    socket: SessionSocket | None = websocket.scope.get("extensions", {}).get(EXTENSION)
    if socket is not None:
        socket.hand_over(conversation(socket))
        return
    frames = AsgiFrames(websocket)
    await frames.carry(conversation(frames))
