"""An HTTP answer that comes in time: a timeout between two bytes never ends one that drips."""

from __future__ import annotations

import math
import socket
import time

from modeldist.origins.http_head import LONGEST, BadAnswer, Head, chunk_size, end_of_head, parse_head

_AT_ONCE = 64 << 10  # bytes; the head of a small file's answer comes with all of its body
_LONGEST_LINE = 8 << 10  # of a chunked body


class PromptResponse:
    """The answer to one request by `method`, whose head as a whole takes no longer than the socket's timeout lets one
    byte take; TimeoutError else. Raises BadAnswer, OSError."""

    def __init__(self, sock: socket.socket, method: str) -> None:
        self._sock = sock
        self._patience = sock.gettimeout()
        self._until = math.inf
        self._come = b""  # bytes after the head that nobody has taken yet
        self._chunk = 0  # bytes of the chunk still to come
        self._chunks = 0
        self._ended = False
        self.hurry()
        head = self._head(method)
        self._until = math.inf
        self.status = head.status
        self.chunked = head.chunked
        self._fields = head.fields
        self._left = head.length
        self._closes = head.closes

    @property
    def will_close(self) -> bool:
        """The connection serves no other request: the origin says so, or sent what was not asked for."""
        return self._closes or bool(self._come)

    def header(self, name: str) -> str:
        """Its value, empty when absent."""
        return self._fields.get(name.lower(), "")

    def hurry(self) -> None:
        """What is read from now on takes no longer either, until `hurry` is called again."""
        if self._patience is not None:
            self._until = time.monotonic() + self._patience

    def take(self, at_most: int) -> bytes:
        """Of a body that is not chunked, what came along with the head."""
        taken, self._come = self._come[:at_most], self._come[at_most:]
        return taken

    def read(self, at_most: int) -> bytes:
        """The body, or its first bytes. Raises OSError when it ends early."""
        parts: list[bytes] = []
        while at_most > 0 and (part := self._read_some(at_most)):
            parts.append(part)
            at_most -= len(part)
        return b"".join(parts)

    def _read_some(self, at_most: int) -> bytes:
        if self.chunked:
            return self.read_chunk(at_most)
        if self._left is not None:
            at_most = min(at_most, self._left)
        if not at_most:
            return b""
        if not self._come:
            self._come = self._receive()
        part = self.take(at_most)
        if self._left is not None:
            if not part:
                raise BadAnswer(f"the body ended {self._left} bytes early")
            self._left -= len(part)
        return part

    def read_chunk(self, at_most: int) -> bytes:
        """What has come of a chunked body's chunk; empty at the body's end."""
        if not self._chunk and not self._ended:
            self._next_chunk()
        if self._ended:
            return b""
        if not self._come:
            self._come = self._receive()
        if not self._come:
            raise BadAnswer("the body ended early")
        part = self.take(min(at_most, self._chunk))
        self._chunk -= len(part)
        return part

    def _next_chunk(self) -> None:
        if self._chunks and self._line():
            raise BadAnswer("a chunk is longer than it said")
        self._chunks += 1
        self._chunk = chunk_size(self._line())
        if not self._chunk:
            trailers = LONGEST
            while line := self._line():
                trailers -= len(line)
                if trailers < 0:
                    raise BadAnswer("trailers without an end")
            self._ended = True

    def _line(self) -> bytes:
        while (end := self._come.find(b"\n")) < 0:
            if len(self._come) > _LONGEST_LINE:
                raise BadAnswer("a line without an end")
            part = self._receive()
            if not part:
                raise BadAnswer("the body ended early")
            self._come += part
        line, self._come = self._come[:end], self._come[end + 1 :]
        return line.removesuffix(b"\r")

    def _head(self, method: str) -> Head:
        """The head of the answer; of interim ones (100 Continue, 103 Early Hints) before it nothing is kept."""
        left = LONGEST
        while True:
            data, searched = self._come, 0
            while not (end := end_of_head(data, searched)):
                if len(data) > left:
                    raise BadAnswer("a head without an end")
                searched = max(0, len(data) - 3)
                part = self._receive()
                if not part:
                    raise BadAnswer("the connection was closed" + (" within the head" if data else ""))
                data += part
            left -= end
            self._come = data[end:]
            head = parse_head(data[:end], method)
            if head.status >= 200:
                return head
            if head.status == 101 or left <= 0:
                raise BadAnswer(f"an answer {head.status}, which was not asked for")

    def _receive(self) -> bytes:
        """Empty at the end of the connection."""
        if time.monotonic() > self._until:
            raise TimeoutError("the answer comes too slowly")
        return self._sock.recv(_AT_ONCE)
