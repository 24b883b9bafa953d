"""Bytes from a socket into a file without passing through Python: `splice` by way of a pipe.

Where the kernel cannot splice into a file (EINVAL: some FUSE mounts, a file opened for appending) the bytes go through
one reused buffer instead, from then on for this connection.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket

_PIPE_SIZES = (1 << 20, 1 << 18)  # an unprivileged user's pipes share a quota; a smaller one still works
_BUFFER = 1 << 18


class SocketToFile:
    """One per connection, used by its reader thread. The pipe is made when first needed."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._pipe: tuple[int, int] | None = None
        self._buffer: bytearray | None = None

    @property
    def zero_copy(self) -> bool:
        """False once the buffer had to be used."""
        return self._buffer is None

    def move(self, fd: int, offset: int, at_most: int) -> int:
        """Move between 1 and `at_most` bytes to `offset` of file `fd`; how many.

        Raises BlockingIOError when nothing arrived for the socket's receive timeout, EOFError at the end of the
        connection, OSError when the file cannot be written.
        """
        if self._buffer is not None:
            return self._move_by_buffer(self._buffer, fd, offset, at_most)
        if self._pipe is None:
            self._pipe = _make_pipe()
        source, sink = self._pipe
        count = os.splice(self._sock.fileno(), sink, at_most, flags=os.SPLICE_F_MOVE)
        if not count:
            raise EOFError
        self._empty_pipe(source, fd, offset, count)
        return count

    def close(self) -> None:
        if self._pipe:
            for end in self._pipe:
                os.close(end)
            self._pipe = None

    def _empty_pipe(self, source: int, fd: int, offset: int, count: int) -> None:
        while count:
            try:
                moved = os.splice(source, fd, count, offset_dst=offset, flags=os.SPLICE_F_MOVE)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                self._buffer = bytearray(_BUFFER)
                data = os.read(source, count)
                _write_all(fd, memoryview(data), offset)
                moved = len(data)
            offset += moved
            count -= moved

    def _move_by_buffer(self, buffer: bytearray, fd: int, offset: int, at_most: int) -> int:
        view = memoryview(buffer)[:at_most]
        count = self._sock.recv_into(view)
        if not count:
            raise EOFError
        _write_all(fd, view[:count], offset)
        return count


def _write_all(fd: int, data: memoryview, offset: int) -> None:
    while data:
        written = os.pwrite(fd, data, offset)
        data = data[written:]
        offset += written


def _make_pipe() -> tuple[int, int]:
    source, sink = os.pipe2(os.O_CLOEXEC)
    for size in _PIPE_SIZES:
        try:
            fcntl.fcntl(sink, fcntl.F_SETPIPE_SZ, size)
        except PermissionError:
            continue
        break
    return source, sink
