"""Response body → file descriptor, the cheapest way the connection allows.

`copy_body` is the one place that knows how: what came along with the head as it is, the rest by splice for plain TCP
(a short body by the reused 1 MiB buffer), record-wise into that buffer for TLS and for chunked bodies. None of them
waits longer than a tick for more: the caller hears of slow bytes, and can stop.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable, Generator
from contextlib import closing

from modeldist.errors import NotEnoughSpace, StorageError
from modeldist.explain.waits import waits_for
from modeldist.file_failures import is_full
from modeldist.origins.prompt_response import PromptResponse
from modeldist.socket_to_file import NotWritable, SocketToFile

BUFFER_SIZE = 1 << 20
LEAST = 1 << 10  # bytes/s, on average over the connection's timeout; a body that brings less has stalled
TICK = 1.0  # seconds after which what has come is told of, or that nothing has
_PART = 1 << 20  # bytes moved by splice between two yields, at most
_PART_SECONDS = 0.02  # or what comes in this time: on a slow link others wait for each piece of it
_WORTH_A_PIPE = 256 << 10  # bytes; less goes through the buffer


class BodyLost(Exception):
    """The body ended, broke or stalled before its time. The text says which."""


Fill = Callable[[memoryview], int]
"""Read into the view; gives the number of bytes, 0 at the end of the body."""


def copy_body(
    response: PromptResponse,
    sock: socket.socket,
    want: int,
    fd: int,
    offset: int,
    *,
    buffer: memoryview,
    splicing: SocketToFile,
    clock: Callable[[], float],
) -> Generator[int]:
    """Write the next `want` bytes of the body to `fd` at `offset`; yields the length of each part once written, and 0
    when nothing came for a while.

    `sock` is the response's connection, in timeout mode with a receive timeout (SO_RCVTIMEO) of at most a tick, and
    `splicing` belongs to it. Raises BodyLost; StorageError when `fd` does not take it.
    """
    if not response.chunked and (early := response.take(want)):
        _write(fd, memoryview(early), offset)
        yield len(early)
        want, offset = want - len(early), offset + len(early)
        if not want:
            return
    patience = sock.gettimeout() or TICK
    waited, came = 0.0, 0
    with closing(_parts(response, sock, want, fd, offset, buffer, splicing, clock)) as parts:
        asked = clock()
        for count in parts:
            want, came, waited = want - count, came + count, waited + clock() - asked
            yield count
            if came >= LEAST * patience:
                waited, came = 0.0, 0
            elif want and waited > patience:
                raise BodyLost("it stalled")
            asked = clock()  # who takes the bytes may be slow: a limit on the origin's rate, a full disk


def _parts(
    response: PromptResponse,
    sock: socket.socket,
    want: int,
    fd: int,
    offset: int,
    buffer: memoryview,
    splicing: SocketToFile,
    clock: Callable[[], float],
) -> Generator[int]:
    if response.chunked:
        yield from _copy(_gathering(lambda view: _read_chunk(response, view), clock), want, fd, offset, buffer)
        return
    stall = sock.gettimeout()
    try:
        if isinstance(sock, ssl.SSLSocket):
            sock.settimeout(min(TICK, stall or TICK))
            yield from _copy(_gathering(sock.recv_into, clock), want, fd, offset, buffer)
            return
        sock.settimeout(None)  # blocking, so that splice and MSG_WAITALL wait; SO_RCVTIMEO still ends a tick
        if want >= _WORTH_A_PIPE:
            yield from _splice(splicing, want, fd, offset, clock)
        else:
            whole = socket.MSG_WAITALL
            yield from _copy(lambda view: sock.recv_into(view, len(view), whole), want, fd, offset, buffer)
    finally:
        splicing.await_bytes(1)  # the next answer's head is short
        sock.settimeout(stall)


def _splice(splicing: SocketToFile, want: int, fd: int, offset: int, clock: Callable[[], float]) -> Generator[int]:
    while want > 0:
        moved, until = 0, clock() + _PART_SECONDS
        lost: Exception | None = None
        while moved < min(want, _PART) and clock() < until and lost is None:
            try:
                moved += splicing.move(fd, offset + moved, min(want, _PART) - moved)
            except BlockingIOError:
                break
            except NotWritable as failure:
                lost = _not_written(failure.error)
            except EOFError:
                lost = BodyLost("the connection was closed")
            except OSError as error:
                lost = BodyLost(str(error) or type(error).__name__)
        if moved or lost is None:
            yield moved
        if lost is not None:
            raise lost
        offset, want = offset + moved, want - moved


def _copy(fill: Fill, want: int, fd: int, offset: int, buffer: memoryview) -> Generator[int]:
    while want > 0:
        view = buffer[: min(want, len(buffer))]
        try:
            got = fill(view)
        except (TimeoutError, BlockingIOError):
            yield 0
            continue
        except OSError as error:
            raise BodyLost(str(error) or type(error).__name__) from error
        if not got:
            raise BodyLost("the connection was closed")
        _write(fd, view[:got], offset)
        offset, want = offset + got, want - got
        yield got


def _read_chunk(response: PromptResponse, view: memoryview) -> int:
    """What has come of the chunk."""
    try:
        response.hurry()  # the line that says how long the chunk is can drip, too
        data = response.read_chunk(len(view))
    except TimeoutError:
        raise BodyLost("it stalled") from None
    view[: len(data)] = data
    return len(data)


def _gathering(fill: Fill, clock: Callable[[], float]) -> Fill:
    """Of a `fill` that gives little at a time (a TLS record has 16 KiB): gather it, so that each write is large."""

    def gathered(view: memoryview) -> int:
        filled, until = 0, clock() + _PART_SECONDS
        while filled < len(view) and (not filled or clock() < until):
            try:
                got = fill(view[filled:])
            except OSError:
                if filled:
                    break  # write what came; the next call fails again
                raise
            if not got:
                break
            filled += got
        return filled

    return gathered


@waits_for("disk")
def _write(fd: int, view: memoryview, offset: int) -> None:
    try:
        while view:
            written = os.pwrite(fd, view, offset)
            view, offset = view[written:], offset + written
    except OSError as error:
        raise _not_written(error) from error


def _not_written(error: OSError) -> StorageError:
    if is_full(error):
        return NotEnoughSpace(
            "The disk is full.", remedy="Free space (modeldist gc) and pull again; what is here is kept."
        )
    return StorageError(f"Writing failed: {error.strerror}.", remedy="Check the disk of the store.")
