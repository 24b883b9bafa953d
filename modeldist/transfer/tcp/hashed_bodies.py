"""Bytes from a socket into a hash and a file, by way of one buffer that stays in the processor's caches.

Against `splice` it saves reading the file again for the hash, and the thread that would do it. The end of a block and
the header behind it come with one call.
"""

from __future__ import annotations

import select
import socket

from modeldist.explain.waits import waits_for
from modeldist.socket_to_file import write_all
from modeldist.transfer.base import Hash
from modeldist.transfer.frames import HEADER

STRETCH = 1 << 20  # bytes to wait for, hash and write at a time: the page cache takes a small write for more CPU


class HashedBodies:
    """One per connection, used by its reader thread. `tick`: seconds of one wait."""

    def __init__(self, sock: socket.socket, *, tick: float) -> None:
        self._sock = sock
        self._tick = max(1, int(tick * 1000))
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self._buffer = memoryview(b"")
        self._filled = 0

    def gather(self, wanted: int, *, ends_block: bool) -> bool:
        """Wait for the next `wanted` bytes of a block (at most STRETCH); False while more calls are needed.

        The socket's low watermark is to be what is `missing`. The wait is in `poll`: a `recv` that has taken a part
        would sleep until as many bytes again are there. Raises BlockingIOError when nothing came for a tick, EOFError
        at the end of the connection, OSError when it broke.
        """
        if len(self._buffer) < wanted + HEADER.size:
            self._buffer = memoryview(bytearray(wanted + HEADER.size))
        self._poll.poll(self._tick)
        end = wanted + HEADER.size if ends_block else wanted
        count = self._sock.recv_into(self._buffer[self._filled : end], 0, socket.MSG_DONTWAIT)
        if not count:
            raise EOFError
        self._filled += count
        return self._filled >= wanted

    def missing(self, wanted: int) -> int:
        return wanted - self._filled

    @waits_for("verify")
    def keep(self, wanted: int, along: Hash, fd: int, offset: int) -> None:
        """What was gathered goes into the hash, and to `offset` of the file. Raises NotWritable."""
        body = self._buffer[:wanted]
        along.update(body)
        write_all(fd, body, offset, wanted)

    def behind(self, wanted: int) -> bytes:
        """What came behind the block, at most a header; the next `gather` begins anew."""
        found = bytes(self._buffer[wanted : self._filled])
        self._filled = 0
        return found
