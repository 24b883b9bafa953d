"""Bytes from a socket into a file without passing through Python: `splice` by way of a pipe.

Where the kernel cannot splice into a file (EINVAL: some FUSE mounts, a file opened for appending) the bytes go through
one reused buffer instead, from then on for this connection.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket

from modeldist.explain.waits import waits_for

_GATHERED = 1 << 16  # bytes of a body to wait for: a wake-up of this thread costs more than copying so many
_PIPE_SIZES = (1 << 20, 1 << 18)  # an unprivileged user's pipes share a quota; a smaller one still works
_BUFFER = 1 << 18


class NotWritable(Exception):
    """The file did not take what had come: `taken` bytes are gone from the socket, and lost."""

    def __init__(self, error: OSError, taken: int) -> None:
        super().__init__(str(error))
        self.error = error
        self.taken = taken


class SocketToFile:
    """One per connection, used by its reader thread. The pipe is made when first needed."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._awaited = 1
        self._pipe: tuple[int, int] | None = None
        self._buffer: bytearray | None = None

    @property
    def zero_copy(self) -> bool:
        """False once the buffer had to be used."""
        return self._buffer is None

    def await_bytes(self, count: int) -> None:
        """Let this thread sleep until so many bytes are there (or none will come): on a link shared by many, bytes
        trickle in a packet at a time. Always at most what is still to come, or the wait would not end."""
        if count != self._awaited:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)
            self._awaited = count

    def move(self, fd: int, offset: int, at_most: int) -> int:
        """Move between 1 and `at_most` bytes to `offset` of file `fd`; how many.

        Raises BlockingIOError when nothing arrived for the socket's receive timeout, EOFError at the end of the
        connection, OSError when it broke, NotWritable.
        """
        self.await_bytes(min(at_most, _GATHERED))
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

    def discard(self, at_most: int) -> int:
        """Take between 1 and `at_most` bytes off the socket for nobody; how many. Raises as `move`."""
        self.await_bytes(min(at_most, _GATHERED))
        count = len(self._sock.recv(min(at_most, _BUFFER)))
        if not count:
            raise EOFError
        return count

    def close(self) -> None:
        if self._pipe:
            for end in self._pipe:
                os.close(end)
            self._pipe = None

    @waits_for("disk")
    def _empty_pipe(self, source: int, fd: int, offset: int, count: int) -> None:
        left = count
        while left:
            try:
                moved = os.splice(source, fd, left, offset_dst=offset, flags=os.SPLICE_F_MOVE)
            except OSError as error:
                data = _read_all(source, left)
                if error.errno != errno.EINVAL:
                    raise NotWritable(error, count) from error
                self._buffer = bytearray(_BUFFER)
                write_all(fd, memoryview(data), offset, count)
                return
            offset += moved
            left -= moved

    def _move_by_buffer(self, buffer: bytearray, fd: int, offset: int, at_most: int) -> int:
        view = memoryview(buffer)[:at_most]
        count = self._sock.recv_into(view)
        if not count:
            raise EOFError
        write_all(fd, view[:count], offset, count)
        return count


def _read_all(pipe: int, count: int) -> bytes:
    """What is left in the pipe, which must be empty before it is used again."""
    data = b""
    while len(data) < count:
        data += os.read(pipe, count - len(data))
    return data


@waits_for("disk")
def write_all(fd: int, data: memoryview, offset: int, taken: int) -> None:
    """All of `data` to `offset` of the file. Raises NotWritable, with `taken`."""
    try:
        while data:
            written = os.pwrite(fd, data, offset)
            data = data[written:]
            offset += written
    except OSError as error:
        raise NotWritable(error, taken) from error


def _make_pipe() -> tuple[int, int]:
    source, sink = os.pipe2(os.O_CLOEXEC)
    for size in _PIPE_SIZES:
        try:
            fcntl.fcntl(sink, fcntl.F_SETPIPE_SZ, size)
        except PermissionError:
            continue
        break
    return source, sink
