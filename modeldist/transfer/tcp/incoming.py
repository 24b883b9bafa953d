"""All that is read off a connection to a parent: frames into memory, bodies into their files.

While the parent is slow this thread also hashes bodies. From a fast one it has enough to do with the moving, and cores
work on one piece together when others hash, if there are cores for that.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass

from modeldist.socket_to_file import NotWritable, SocketToFile
from modeldist.transfer import base
from modeldist.transfer.tcp.hashed_bodies import STRETCH, HashedBodies

_WINDOW = 0.25  # seconds over which the speed is taken


@dataclass
class Range:
    """Bytes [offset, offset + length) of a file are its own; `done` of them have come. `hash`: of what came, None where
    nobody hashes along. After `failed` the file is left alone."""

    fd: int
    offset: int
    length: int
    hash: base.Hash | None
    done: int = 0
    failed: OSError | None = None


class Incoming:
    """Used by the connection's reader thread alone. `hash_below`: bytes/s from the parent above which this thread only
    moves bytes.

    `on_silence` is called when nothing came for `tick` seconds; what it raises ends the read. All reads raise EOFError
    at the end of the connection, OSError when it broke.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        tick: float,
        hash_below: float,
        clock: Callable[[], float],
        on_silence: Callable[[], None],
    ) -> None:
        self._sock = sock
        self._hash_below = hash_below
        self._clock = clock
        self._on_silence = on_silence
        self._moving = SocketToFile(sock)
        self._hashed = HashedBodies(sock, tick=tick)
        self._ahead = b""  # what came along behind a block, at most a header
        self._small = memoryview(bytearray(64 * 1024))
        self._is_fast = False
        self._window_start = self.heard_at = clock()
        self._window_bytes = 0

    def close(self) -> None:
        self._moving.close()

    def read(self, count: int) -> memoryview:
        """Some of the next `count` bytes, all if they come in time. Good until the next read."""
        if self._ahead:
            found, self._ahead = self._ahead[:count], self._ahead[count:]
            return memoryview(found)
        into = self._small[:count]
        self._moving.await_bytes(1)
        while True:
            try:
                got = self._sock.recv_into(into, len(into), socket.MSG_WAITALL)
            except BlockingIOError:
                self._on_silence()
                continue
            if not got:
                raise EOFError
            self.heard_at = self._clock()
            return into[:got]

    def take_block(self, range_: Range, length: int) -> None:
        """The next `length` bytes are the range's. They come off the socket at any rate, where the next ones wait
        behind them; a file that does not take them is in `failed`."""
        if not range_.done and self._is_fast:
            range_.hash = None
        if range_.hash is None:
            self._splice_block(range_, length)
        else:
            self._hash_block(range_, range_.hash, length)
        self._look_at_speed(length)

    def _look_at_speed(self, count: int) -> None:
        self._window_bytes += count
        seconds = self.heard_at - self._window_start
        if seconds >= _WINDOW:
            self._is_fast = self._window_bytes / seconds >= self._hash_below
            self._window_start, self._window_bytes = self.heard_at, 0

    def _splice_block(self, range_: Range, left: int) -> None:
        while left:
            try:
                moved = self._move(range_, left)
            except BlockingIOError:
                self._on_silence()
                continue
            self.heard_at = self._clock()
            range_.done += moved
            left -= moved

    def _move(self, range_: Range, at_most: int) -> int:
        if range_.failed is not None:
            return self._moving.discard(at_most)
        try:
            return self._moving.move(range_.fd, range_.offset + range_.done, at_most)
        except NotWritable as failure:
            range_.failed = failure.error
            return failure.taken

    def _hash_block(self, range_: Range, hash_: base.Hash, left: int) -> None:
        while left:
            count = min(left, STRETCH - range_.done % STRETCH)
            self._gather(count, ends_block=count == left)
            if range_.failed is None:
                try:
                    self._hashed.keep(count, hash_, range_.fd, range_.offset + range_.done)
                except NotWritable as failure:
                    range_.failed = failure.error
            self._ahead = self._hashed.behind(count)
            range_.done += count
            left -= count

    def _gather(self, count: int, *, ends_block: bool) -> None:
        whole = False
        while not whole:
            self._moving.await_bytes(self._hashed.missing(count))
            try:
                whole = self._hashed.gather(count, ends_block=ends_block)
            except BlockingIOError:
                self._on_silence()
            else:
                self.heard_at = self._clock()
