"""All that is read off a connection to a parent that is behind TLS: through one buffer, into files and hashes."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable

from modeldist.socket_to_file import NotWritable, write_all
from modeldist.transfer import base
from modeldist.transfer.tcp.incoming import Incoming, Range
from modeldist.transfer.tcp.tls_socket import OVERHEAD, RECORD, TlsSocket

_SEALED = 1 << 18  # bytes taken off the socket at a time; with what they say they stay in a core's cache
_GATHERED = 1 << 16  # bytes of a body to wait for


class TlsIncoming(Incoming):
    """An `Incoming`. What the plain one leaves to the kernel passes through here."""

    def __init__(
        self,
        sock: socket.socket,
        *,
        tick: float,
        hash_below: float,
        clock: Callable[[], float],
        on_silence: Callable[[], None],
    ) -> None:
        super().__init__(sock, tick=tick, hash_below=hash_below, clock=clock, on_silence=on_silence)
        assert isinstance(sock, TlsSocket)
        self._tls = sock
        self._patience = max(1, int(tick * 1000))
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self._sealed = memoryview(bytearray(_SEALED))
        self._plain = memoryview(bytearray(_SEALED + RECORD + OVERHEAD))
        self._said = self._plain[:0]  # what came and was not taken

    def read(self, count: int) -> memoryview:
        if not self._said:
            self._receive(0)
        found, self._said = self._said[:count], self._said[count:]
        return found

    def _splice_block(self, range_: Range, left: int) -> None:
        self._take(range_, None, left)

    def _hash_block(self, range_: Range, hash_: base.Hash, left: int) -> None:
        self._take(range_, hash_, left)

    def _take(self, range_: Range, hash_: base.Hash | None, left: int) -> None:
        while left:
            if not self._said:
                self._receive(left)
            part, self._said = self._said[:left], self._said[left:]
            if range_.failed is None:
                self._keep(range_, hash_, part)
            range_.done += len(part)
            left -= len(part)

    def _keep(self, range_: Range, hash_: base.Hash | None, part: memoryview) -> None:
        if hash_ is not None:
            hash_.update(part)
        try:
            write_all(range_.fd, part, range_.offset + range_.done, len(part))
        except NotWritable as failure:
            range_.failed = failure.error

    def _receive(self, expected: int) -> None:
        """Something of what comes next, `expected` bytes at least of which will come without being asked for. Of
        those a record may be here already, with its end still to come."""
        self._moving.await_bytes(max(1, min(expected - RECORD - OVERHEAD, _GATHERED)))
        while not self._said:
            if not self._poll.poll(self._patience):
                self._on_silence()
                continue
            try:
                count = self._tls.receive_into(self._sealed, self._plain)
            except BlockingIOError:
                continue
            self.heard_at = self._clock()
            self._said = self._plain[:count]
