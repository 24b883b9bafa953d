"""A child at the server whose connection is behind TLS: what the kernel sends for others passes through one buffer."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from modeldist.transfer.frame_reader import FrameReader
from modeldist.transfer.tcp.child import ChildConnection, Serving
from modeldist.transfer.tcp.tls_socket import STRETCH


class TlsChildConnection(ChildConnection):
    """A `ChildConnection` on a `TlsSocket`."""

    def __init__(
        self, sock: socket.socket, node: str, reader: FrameReader, serving: Serving, on_end: Callable[[], None]
    ) -> None:
        super().__init__(sock, node, reader, serving, on_end)
        self._buffer = memoryview(bytearray(STRETCH))

    def _send_block(self, fd: int, offset: int, length: int) -> None:
        while length:
            part = self._buffer[: min(length, STRETCH)]
            count = os.preadv(fd, [part], offset)
            if not count:
                raise OSError(f"the shard ended at byte {offset}")
            self._sock.sendall(part[:count])
            self._serving.account.sent(count, of_model=self._of_model)
            self._unsent -= count
            offset += count
            length -= count
