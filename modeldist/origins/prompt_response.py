"""An HTTP answer that comes in time: a timeout between two bytes never ends one that drips."""

from __future__ import annotations

import http.client
import io
import math
import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class PromptResponse(http.client.HTTPResponse):
    """Its head as a whole takes no longer than the connection's timeout lets one byte take; TimeoutError else."""

    def __init__(
        self, sock: socket.socket, debuglevel: int = 0, method: str | None = None, url: str | None = None
    ) -> None:
        super().__init__(sock, debuglevel, method, url)
        self._patience = sock.gettimeout()
        self._incoming = _Incoming(self.fp.detach())
        self.fp = io.BufferedReader(self._incoming)

    def begin(self) -> None:
        self.hurry()
        super().begin()
        self._incoming.until = math.inf

    def hurry(self) -> None:
        """What is read from now on takes no longer either, until `hurry` is called again."""
        if self._patience is not None:
            self._incoming.until = time.monotonic() + self._patience


class _Incoming(io.RawIOBase):
    """The bytes of a socket's file until a moment of the monotonic clock."""

    def __init__(self, raw: io.RawIOBase) -> None:
        self._raw = raw
        self.until = math.inf

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        if time.monotonic() > self.until:
            raise TimeoutError("the answer comes too slowly")
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()
