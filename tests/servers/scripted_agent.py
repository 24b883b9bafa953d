"""An agent that speaks the real session over a real WebSocket and does what the test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from modeldist.session.messages import (
    PROTOCOL,
    FromAgent,
    FromControl,
    Hello,
    PullProgress,
    StartPull,
    Welcome,
    decode_from_control,
    encode,
)

T = TypeVar("T")
PATIENCE = 20.0  # seconds for anything that must come


class ScriptedAgent:
    """`expect(kind)` skips other messages."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.welcome: Welcome | None = None

    async def send(self, message: FromAgent) -> None:
        await self.connection.send(encode(message))

    async def receive(self) -> FromControl:
        async with asyncio.timeout(PATIENCE):
            frame = await self.connection.recv()
        assert isinstance(frame, bytes)
        return decode_from_control(frame)

    async def expect(self, kind: type[T]) -> T:
        while True:
            message = await self.receive()
            if isinstance(message, kind):
                return message

    async def closed(self) -> tuple[int, str]:
        """Wait for the other side to close: (code, reason)."""
        async with asyncio.timeout(PATIENCE):
            try:
                while True:
                    await self.connection.recv()
            except ConnectionClosed as closed:
                received = closed.rcvd
                return (received.code, received.reason) if received else (1006, "")

    async def finish(self, asked: StartPull, *, size: int = 100, origin: int = 100) -> None:
        """Carry out a pull at once."""
        await self.send(PullProgress(asked.pull, "pulling", bytes_total=size, bytes_origin=origin // 2))
        await self.send(
            PullProgress(
                asked.pull,
                "done",
                bytes_total=size,
                bytes_origin=origin,
                bytes_peers=size - origin,
                path=f"/models/{asked.reference}",
            )
        )


@asynccontextmanager
async def open_socket(ws: str, token: str) -> AsyncIterator[ScriptedAgent]:
    """A WebSocket on which nobody has greeted yet."""
    headers = {"Authorization": f"Bearer {token}"}
    async with connect(ws, additional_headers=headers, proxy=None, max_size=None) as connection:
        yield ScriptedAgent(connection)


def hello(node: str, **more: object) -> Hello:
    fields: dict[str, object] = {"protocol": PROTOCOL, "name": node, "version": "0.1.0", "address": "127.0.0.1:1"}
    return Hello(node=node, **(fields | more))  # type: ignore[arg-type]


@asynccontextmanager
async def scripted_agent(ws: str, token: str, node: str, **more: object) -> AsyncIterator[ScriptedAgent]:
    """An agent that was welcomed."""
    async with open_socket(ws, token) as agent:
        await agent.send(hello(node, **more))
        agent.welcome = await agent.expect(Welcome)
        yield agent
