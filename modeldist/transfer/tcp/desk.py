"""The server's reception: it accepts, greets, shows strangers out, and cleans up after children that left.

A connection that has not said a proper hello is a `Guest`: it costs no thread, has a few seconds, and gets a clear end.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import socket
import threading
import time
from collections import deque

from modeldist.transfer import frames
from modeldist.transfer.base import ServerLimits
from modeldist.transfer.frame_reader import Event, FrameReader
from modeldist.transfer.tcp.child import ChildConnection, Serving
from modeldist.transfer.tcp.socket_tuning import tune, tune_sender

_READ = 64 * 1024
_TICK = 0.25  # seconds between two looks at the guests
_FAREWELL = 0.5  # seconds for all children together to be told goodbye when the server closes
_MORE_GUESTS = 64  # than connections are served; beyond it strangers are not even told why
_MOST_READ_OF_A_LEAVING_GUEST = 1 << 20
_STRANGER = b"This is a modeldist piece server; it speaks only its own protocol.\n"

log = logging.getLogger(__name__)


class Guest:
    """Before the hello, or on the way out after a refusal (`reader` None)."""

    def __init__(self, sock: socket.socket, until: float) -> None:
        self.sock = sock
        self.until = until
        self.reader: FrameReader | None = FrameReader()
        self.discarded = 0


class Desk(threading.Thread):
    """`close` is called from another thread, `_left` from the children's; the rest runs in this one."""

    def __init__(self, listener: socket.socket, serving: Serving, limits: ServerLimits) -> None:
        super().__init__(name="piece server", daemon=True)
        self._listener = listener
        self._serving = serving
        self._limits = limits
        self._selector = selectors.DefaultSelector()
        self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._selector.register(self._wake_fd, selectors.EVENT_READ)
        self._selector.register(listener, selectors.EVENT_READ)
        self._accepting = True
        self._guests: set[Guest] = set()
        self._children: dict[socket.socket, ChildConnection] = {}
        self._gone: deque[socket.socket] = deque()
        self._closing = threading.Event()

    def close(self) -> None:
        """End everything; returns when the thread and all others of this server are gone. Call it once."""
        self._closing.set()
        self._wake()
        self.join()
        os.close(self._wake_fd)  # not by the thread, which may be gone before the lines above

    def _wake(self) -> None:
        os.eventfd_write(self._wake_fd, 1)

    def run(self) -> None:
        try:
            while not self._closing.is_set():
                self._turn()
        finally:
            self._end_all()

    def _turn(self) -> None:
        restless = self._guests or not self._accepting
        for key, _ in self._selector.select(_TICK if restless else None):
            if key.data is not None:
                self._read(key.data)
            elif key.fileobj is self._listener:
                self._accept()
            else:
                os.eventfd_read(self._wake_fd)
        while self._gone:
            self._clean_up(self._gone.popleft())
        if restless:
            self._look()

    # --- guests ---

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError as error:  # out of descriptors, most likely: the listener stays readable, so look away a while
            log.warning("cannot accept a connection: %s", error)
            self._selector.unregister(self._listener)
            self._accepting = False
            return
        stall = self._serving.timeouts.stall
        try:
            tune(sock, stall=stall)
            tune_sender(sock, stall=stall)
        except OSError:  # gone already
            sock.close()
            return
        if len(self._guests) >= self._limits.connections + _MORE_GUESTS:
            sock.close()
            return
        guest = Guest(sock, self._serving.clock() + self._serving.timeouts.hello)
        self._guests.add(guest)
        self._selector.register(sock, selectors.EVENT_READ, guest)
        if len(self._guests) + len(self._children) > self._limits.connections:
            self._refuse(guest, f"This parent serves {self._limits.connections} connections and takes no more now.")

    def _read(self, guest: Guest) -> None:
        try:
            data = guest.sock.recv(_READ, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._show_out(guest)
        elif guest.reader is None:
            guest.discarded += len(data)
            if guest.discarded > _MOST_READ_OF_A_LEAVING_GUEST:
                self._show_out(guest)
        else:
            try:
                self._greet(guest, guest.reader, guest.reader.receive(data))
            except frames.ProtocolError:
                self._last_words(guest, _STRANGER)

    def _greet(self, guest: Guest, reader: FrameReader, events: list[Event]) -> None:
        match events:
            case []:
                return
            case [frames.Hello(version=frames.VERSION, node=node), *early]:
                self._welcome(guest, node, reader, early)
            case [frames.Hello(version=version), *_]:
                self._refuse(
                    guest,
                    f"This parent speaks piece protocol {frames.VERSION}, the child {version}. "
                    "Run the same release of modeldist on both nodes.",
                )
            case _:
                raise frames.ProtocolError("A child says hello first.")

    def _welcome(self, guest: Guest, node: str, reader: FrameReader, early: list[Event]) -> None:
        sock = guest.sock
        try:
            child = ChildConnection(sock, node, reader, self._serving, lambda: self._left(sock))
        except OSError:
            self._refuse(guest, "This parent has no descriptor left to serve with.")
            return
        self._guests.discard(guest)
        self._selector.unregister(sock)
        self._write_now(sock, frames.MAGIC + frames.encode(frames.HelloOk(frames.VERSION, self._serving.node)))
        self._children[sock] = child
        try:
            child.begin(early)
        except RuntimeError as error:
            log.warning("cannot serve child %s: %s", node, error)
            del self._children[sock]
            sock.close()

    def _refuse(self, guest: Guest, reason: str) -> None:
        self._last_words(guest, frames.MAGIC + frames.encode(frames.HelloRefused(frames.brief(reason))))

    def _last_words(self, guest: Guest, words: bytes) -> None:
        """Say it, then read to the guest's end: closing with bytes unread resets the connection under the words."""
        guest.reader = None
        guest.until = self._serving.clock() + 1.0
        self._write_now(guest.sock, words)
        with contextlib.suppress(OSError):
            guest.sock.shutdown(socket.SHUT_WR)

    def _write_now(self, sock: socket.socket, data: bytes) -> None:
        """A few bytes into an empty send buffer; never waits."""
        with contextlib.suppress(OSError):
            sock.send(data, socket.MSG_DONTWAIT)

    def _show_out(self, guest: Guest) -> None:
        self._selector.unregister(guest.sock)
        self._guests.discard(guest)
        guest.sock.close()

    def _look(self) -> None:
        """Now and then: whose time is over, and is there room for more."""
        now = self._serving.clock()
        if not self._accepting:
            self._selector.register(self._listener, selectors.EVENT_READ)
            self._accepting = True
        for guest in [guest for guest in self._guests if guest.until <= now]:
            self._show_out(guest)

    # --- children ---

    def _left(self, sock: socket.socket) -> None:
        """From the child's thread, as its last act."""
        self._gone.append(sock)
        self._wake()

    def _clean_up(self, sock: socket.socket) -> None:
        self._children.pop(sock).join()
        sock.close()

    def _end_all(self) -> None:
        self._listener.close()
        for guest in list(self._guests):
            self._show_out(guest)
        for child in self._children.values():
            child.stop("This parent is shutting down.")
        patience = time.monotonic() + _FAREWELL
        for child in self._children.values():
            child.join(max(0.0, patience - time.monotonic()))
        for sock, child in self._children.items():
            child.hang_up()
            child.join()
            sock.close()
        self._children.clear()
        self._selector.close()
