"""Response body → file descriptor, the cheapest way the connection allows.

`copy_body` is the one place that knows how: by splice for plain TCP (a short body, which http.client has mostly read
along with the headers, by the reused 1 MiB buffer), record-wise into that buffer for TLS, through http.client for
chunked bodies.
"""

from __future__ import annotations

import errno
import http.client
import os
import socket
import ssl
from collections.abc import Callable, Generator

from modeldist.errors import NotEnoughSpace, StorageError
from modeldist.socket_to_file import NotWritable, SocketToFile

BUFFER_SIZE = 1 << 20
_PART = 1 << 20  # bytes moved by splice between two yields, at most
_WORTH_A_PIPE = 256 << 10  # bytes; less goes through the buffer


class BodyLost(Exception):
    """The body ended, broke or stalled before its time. The text says which."""


Fill = Callable[[memoryview], int]
"""Read into the view; gives the number of bytes, 0 at the end of the body."""


def copy_body(
    response: http.client.HTTPResponse,
    sock: socket.socket,
    want: int,
    fd: int,
    offset: int,
    *,
    buffer: memoryview,
    splicing: SocketToFile,
) -> Generator[int]:
    """Write the next `want` bytes of the body to `fd` at `offset`; yields the length of each part once written.

    `sock` is the response's connection, in timeout mode, and `splicing` belongs to it. Raises BodyLost; StorageError
    when `fd` does not take it.
    """
    if response.chunked:
        yield from _copy(response.readinto, want, fd, offset, buffer)
        return
    early = _buffered(response, want)
    if early:
        _write(fd, memoryview(early), offset)
        yield len(early)
        want, offset = want - len(early), offset + len(early)
    if isinstance(sock, ssl.SSLSocket):
        yield from _copy(lambda view: _fill_records(sock, view), want, fd, offset, buffer)
        return
    stall = sock.gettimeout()
    sock.settimeout(None)  # blocking, so that splice and MSG_WAITALL wait; SO_RCVTIMEO still ends a stall
    try:
        if want >= _WORTH_A_PIPE:
            yield from _splice(splicing, want, fd, offset)
        else:
            whole = socket.MSG_WAITALL
            yield from _copy(lambda view: sock.recv_into(view, len(view), whole), want, fd, offset, buffer)
    finally:
        splicing.await_bytes(1)  # the next answer's head is short
        sock.settimeout(stall)


def _splice(splicing: SocketToFile, want: int, fd: int, offset: int) -> Generator[int]:
    moved = 0  # and not yielded yet
    lost: Exception | None = None
    while moved < want and lost is None:
        try:
            moved += splicing.move(fd, offset + moved, min(want, _PART) - moved)
        except NotWritable as failure:
            lost = _not_written(failure.error)
        except BlockingIOError:
            lost = BodyLost("it stalled")
        except EOFError:
            lost = BodyLost("the connection was closed")
        except OSError as error:
            lost = BodyLost(str(error) or type(error).__name__)
        if moved >= _PART or (lost and moved):
            yield moved
            offset, want, moved = offset + moved, want - moved, 0
    if lost:
        raise lost
    if moved:
        yield moved


def _copy(fill: Fill, want: int, fd: int, offset: int, buffer: memoryview) -> Generator[int]:
    while want > 0:
        view = buffer[: min(want, len(buffer))]
        try:
            got = fill(view)
        except (TimeoutError, BlockingIOError):
            raise BodyLost("it stalled") from None
        except (OSError, http.client.HTTPException) as error:
            raise BodyLost(str(error) or type(error).__name__) from error
        if not got:
            raise BodyLost("the connection was closed")
        _write(fd, view[:got], offset)
        offset, want = offset + got, want - got
        yield got


def _buffered(response: http.client.HTTPResponse, want: int) -> bytes:
    """What http.client already read along with the headers."""
    if want <= 0:
        return b""
    try:
        ready = len(response.fp.peek())
        return response.fp.read(min(ready, want)) if ready else b""
    except TimeoutError:
        raise BodyLost("it stalled") from None
    except OSError as error:
        raise BodyLost(str(error) or type(error).__name__) from error


def _fill_records(sock: ssl.SSLSocket, view: memoryview) -> int:
    """TLS gives one record (16 KiB) a call; gather them, so that each write is large."""
    filled = 0
    while filled < len(view):
        try:
            got = sock.recv_into(view[filled:])
        except OSError:
            if filled:
                break  # write what came; the next call fails again
            raise
        if not got:
            break
        filled += got
    return filled


def _write(fd: int, view: memoryview, offset: int) -> None:
    try:
        while view:
            written = os.pwrite(fd, view, offset)
            view, offset = view[written:], offset + written
    except OSError as error:
        raise _not_written(error) from error


def _not_written(error: OSError) -> StorageError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NotEnoughSpace(
            "The disk is full.", remedy="Free space (modeldist gc) and pull again; what is here is kept."
        )
    return StorageError(f"Writing failed: {error.strerror}.", remedy="Check the disk of the store.")
