"""A socket behind TLS, for the same threads as a plain one: whoever has it reads and writes as before.

The bytes of TLS pass through memory, and the socket below stays what it is: it blocks, with the kernel's own timeouts.
So one thread may wait for bytes while another sends; only what is neither, a few records' arithmetic, is under a lock.
Kernel TLS would keep `sendfile` and `splice`, and is not used: docs/adr/0038-enrolment-and-tls-between-nodes.md.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from typing import TYPE_CHECKING, Any, cast

from modeldist.transfer.tls.names import node_of

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

RECORD = 1 << 14  # bytes of plain text in one record, at most
OVERHEAD = 256 + 5  # that a record has at most beside them (RFC 8446, 5.2)
STRETCH = 1 << 18  # bytes encrypted, and sent, at a time
_READ = 1 << 16
_KINDS = (0x15, 0x16)  # of a first record: an alert, a handshake


class NoTls(OSError):
    """The other side answered with something else."""


class TlsChannel:
    """One end of TLS, without a socket. `peer`: the node that the other side proved to be, once it has. Raises
    ssl.SSLError where the other side does not, or breaks the protocol; `words` then has the alert that says so."""

    def __init__(self, context: ssl.SSLContext, *, as_parent: bool) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._ssl = context.wrap_bio(self._incoming, self._outgoing, server_side=as_parent)
        self._read_into = cast(Any, self._ssl).read  # which takes any writable buffer
        self._lock = threading.Lock()
        self._began = False
        self.peer = ""
        self.over = False
        """The other side said that it has no more to say."""

    def hear(self, data: bytes) -> bytes:
        """What `data`, whatever arrived next, says. Nothing while hands are being shaken, which an empty `data` begins.
        Raises NoTls."""
        with self._lock:
            if data and not self._began:
                self._began = True
                if data[0] not in _KINDS:
                    raise NoTls("The other side does not speak TLS.")
            self._incoming.write(data)
            if not self.peer and not self._shake_hands():
                return b""
            said = []
            while (part := self._next()) is not None:
                said.append(part)
            return b"".join(said)

    def _shake_hands(self) -> bool:
        try:
            self._ssl.do_handshake()
        except ssl.SSLWantReadError:
            return False
        self.peer = node_of((self._ssl.getpeercert() or {}).get("subjectAltName"))
        if not self.peer:
            raise ssl.SSLError("the certificate of the other side names no node")
        return True

    def _next(self) -> bytes | None:
        if self.over:
            return None
        try:
            part = self._ssl.read(_READ)
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLZeroReturnError:
            part = b""
        self.over = not part
        return part or None

    def hear_into(self, data: memoryview, into: memoryview) -> int:
        """As `hear`, after the handshake: how many bytes are in `into`, which has room for a record more than `data`
        has."""
        filled = 0
        with self._lock:
            self._incoming.write(data)
            try:
                while filled < len(into):
                    count = self._read_into(len(into) - filled, into[filled:])
                    if not count:
                        self.over = True
                        break
                    filled += count
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLZeroReturnError:
                self.over = True
        return filled

    def words(self) -> bytes:
        """What is to be sent, of the handshake."""
        with self._lock:
            return self._outgoing.read()

    def say(self, data: memoryview) -> tuple[int, bytes]:
        """As many bytes of `data` as go together, and what is to be sent for them."""
        done = 0
        with self._lock:
            while done < min(len(data), STRETCH):
                done += self._ssl.write(data[done : done + RECORD])
            return done, self._outgoing.read()


class TlsSocket(socket.socket):
    """Takes the connected socket `below` over. One thread reads, and one at a time writes. What goes around these
    methods (`sendfile`, `splice`) would be in the clear, and break the connection.

    Where `send` takes less than it is given, or raises BlockingIOError, the next bytes said are to begin with the rest,
    as all here do who keep it.
    """

    def __init__(self, below: socket.socket, channel: TlsChannel) -> None:
        timeout = below.gettimeout()
        super().__init__(fileno=below.detach())
        self.settimeout(timeout)
        self.channel = channel
        self._unsent = memoryview(b"")  # of TLS, which the kernel did not take
        self._owed = 0  # bytes that `_unsent` stands for, and that were not said to be taken

    # --- reading ---

    def recv(self, count: int, flags: int = 0, /) -> bytes:
        """What came, a record more than `count` bytes at most. BlockingIOError, too, where it says nothing yet."""
        data = super().recv(count, flags)
        if not data:
            return b""
        shaking = not self.channel.peer
        try:
            said = self.channel.hear(data)
        finally:
            if shaking:  # later, what TLS has to say by itself goes with what we say
                self._say_of_the_handshake()
        if not said and not self.channel.over:
            raise BlockingIOError
        return said

    def _say_of_the_handshake(self) -> None:
        if words := self.channel.words():
            with contextlib.suppress(
                OSError
            ):  # a buffer that is full before anything was said has a stranger behind it
                super().send(words, socket.MSG_DONTWAIT)

    def receive_into(self, sealed: memoryview, into: memoryview) -> int:
        """Bytes that are there, without waiting; how many are in `into`, which has room for a record more than
        `sealed` has. Raises BlockingIOError when there are none, EOFError at the end."""
        got = super().recv_into(sealed, 0, socket.MSG_DONTWAIT)
        count = self.channel.hear_into(sealed[:got], into) if got else 0
        if not count and (not got or self.channel.over):
            raise EOFError
        return count

    # --- writing ---

    def send(self, data: ReadableBuffer, flags: int = 0, /) -> int:
        if not self._push(flags):
            raise BlockingIOError
        taken, self._owed = self._owed, 0
        rest = memoryview(data)[taken:]
        while rest:
            count, sealed = self.channel.say(rest)
            self._unsent = memoryview(sealed)
            if not self._push(flags):
                self._owed = count
                break
            taken += count
            rest = rest[count:]
        if not taken and self._owed:
            raise BlockingIOError
        return taken

    def _push(self, flags: int) -> bool:
        """Whether the kernel has all that was encrypted."""
        try:
            while self._unsent:
                self._unsent = self._unsent[super().send(self._unsent, flags) :]
        except BlockingIOError:
            return False
        return True

    def sendall(self, data: ReadableBuffer, flags: int = 0, /) -> None:
        super().sendall(self._unsent)
        rest = memoryview(data)[self._owed :]
        self._unsent, self._owed = memoryview(b""), 0
        while rest:
            count, sealed = self.channel.say(rest)
            super().sendall(sealed, flags)
            rest = rest[count:]
