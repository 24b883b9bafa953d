"""An HTTP connection of uvicorn's that also sends parts of files by `sendfile`, without a copy in Python.

An application finds it at `scope["state"][FILES]`. While it sends, uvicorn goes on listening on the connection, so that
a client that leaves is noticed.
"""

from __future__ import annotations

import asyncio
import os
from typing import cast

import h11

from modeldist.agent.complaints import ComplainingConnection

FILES = "modeldist.files"
MOST = 4 << 20  # bytes a thread is asked to send in one go: more than the kernel takes for one connection


class FileConnection(ComplainingConnection):
    """One event loop."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.set_write_buffer_limits(0)  # `flow` then waits until all is written
        self.app_state = {**self.app_state, FILES: self}

    def send_400_response(self, msg: str) -> None:
        """To what is no HTTP. Once an answer has begun there is no room for another one."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.close()

    def say_wait(self) -> bool:
        """Send an interim answer. False when it is too late for that: the answer has begun, or nobody listens."""
        if self.cycle.response_started or self.cycle.disconnected or self.transport.is_closing():
            return False
        said = self.conn.send(h11.InformationalResponse(status_code=100, headers=[], reason="Continue"))
        self.transport.write(said or b"")
        return True

    async def send_file(self, fd: int, start: int, stop: int) -> None:
        """A part of the body of the answer that has been started, whose length was given.

        Raises ConnectionError when the client has left, EOFError when the file is shorter.
        """
        await self.flow.drain()
        if self.transport.is_closing():
            raise ConnectionResetError("The client has left.")
        self.conn.send_with_data_passthrough(h11.Data(data=cast(bytes, _Elsewhere(stop - start))))
        own = os.dup(self.transport.get_extra_info("socket").fileno())  # stays when the transport closes its own
        try:
            while start < stop:
                try:
                    sent = await _in_thread(own, fd, start, min(MOST, stop - start))
                except BlockingIOError:
                    await _room(own)
                    continue
                if not sent:
                    raise EOFError
                start += sent
        finally:
            os.close(own)


class _Elsewhere:
    """Stands for bytes that h11 counts and does not see."""

    def __init__(self, length: int) -> None:
        self._length = length

    def __len__(self) -> int:
        return self._length


async def _in_thread(sock: int, fd: int, start: int, count: int) -> int:
    """In a thread, since the file may have to be read from a disk. Never leaves one behind with the descriptors."""
    sending = asyncio.ensure_future(asyncio.to_thread(os.sendfile, sock, fd, start, count))
    try:
        return await asyncio.shield(sending)
    except asyncio.CancelledError:
        await asyncio.wait((sending,))
        if not sending.cancelled():
            sending.exception()  # seen
        raise


async def _room(sock: int) -> None:
    """Return when the kernel takes more, or the connection has ended."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_writer(sock, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(sock)
