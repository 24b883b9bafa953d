"""Frames over any ASGI server: for a control plane mounted into somebody else's application.

Our own server hands over its sockets instead (`session_socket.py`), which costs a session far less.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from starlette.websockets import WebSocket, WebSocketDisconnect

from modeldist.control.conversation import HELLO_WITHIN, Conversation

log = logging.getLogger(__name__)

CLOSE_WITHIN = 2.0  # seconds
_MOST_UNSENT = 16  # frames


class AsgiFrames:
    """A `conversation.Frames`."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self._unsent: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._ending = (1000, "")
        self._given_up = asyncio.Event()
        self._last_call: asyncio.TimerHandle | None = None

    @property
    def clogged(self) -> bool:
        return self._unsent.qsize() >= _MOST_UNSENT

    def send(self, frame: bytes) -> None:
        self._unsent.put_nowait(frame)

    def flush(self) -> None:
        return

    def close(self, code: int, reason: str) -> None:
        self._ending = code, reason
        self._unsent.put_nowait(None)
        # What is being sent may never be taken.
        self._last_call = asyncio.get_running_loop().call_later(CLOSE_WITHIN, self._given_up.set)

    async def carry(self, conversation: Conversation) -> None:
        """Until one side ends."""
        loop = asyncio.get_running_loop()
        greeting = loop.call_later(HELLO_WITHIN + 0.1, lambda: conversation.check(loop.time()))
        ways = (self._read(conversation), self._write(conversation), self._given_up.wait())
        tasks = tuple(asyncio.create_task(way) for way in ways)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            greeting.cancel()
            if self._last_call is not None:
                self._last_call.cancel()
            for task in tasks:
                task.cancel()
            for ended in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(ended, Exception):
                    log.error("the session of %s broke", conversation.who, exc_info=ended)
            conversation.lost(1006)

    async def _read(self, conversation: Conversation) -> None:
        while True:
            event = await self._websocket.receive()
            if event["type"] == "websocket.disconnect":
                conversation.lost(event.get("code", 1006))
                return
            data = event.get("bytes")
            conversation.received(event["text"] if data is None else data)

    async def _write(self, conversation: Conversation) -> None:
        with suppress(WebSocketDisconnect, RuntimeError):
            while (frame := await self._unsent.get()) is not None:
                await self._websocket.send_bytes(frame)
                if not self.clogged:
                    conversation.writable()
            async with asyncio.timeout(CLOSE_WITHIN):
                await self._websocket.close(*self._ending)
