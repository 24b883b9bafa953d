"""The server's one thread for everything that is small: it accepts, greets strangers, reads what children ask, ends
what is idle, and cleans up. Bodies never pass through it.

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
from dataclasses import dataclass

from modeldist.transfer import frames
from modeldist.transfer.base import ServerLimits
from modeldist.transfer.frame_reader import Event, FrameReader
from modeldist.transfer.tcp.child import ChildConnection, Serving
from modeldist.transfer.tcp.socket_tuning import tune, tune_sender

_READ = 64 * 1024
_FAREWELL = 0.5  # seconds for all children together to be told goodbye when the server closes
_MORE_GUESTS = 64  # than connections are served; beyond it strangers are not even told why
_MOST_READ_OF_A_LEAVING_GUEST = 1 << 20
_STRANGER = b"This is a modeldist piece server; it speaks only its own protocol.\n"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServerTimeouts:
    """Seconds. `hello`: to introduce oneself. `idle`: with nothing subscribed and nothing asked. `silent`: without a
    byte from the child (a live one pings). `stall`: a send without progress."""

    hello: float = 5.0
    idle: float = 60.0
    silent: float = 60.0
    stall: float = 20.0

    @property
    def tick(self) -> float:
        """How often to look."""
        return max(0.01, min(1.0, min(self.hello, self.idle, self.silent) / 4))


class Guest:
    """Before the hello, or on the way out after a refusal (`reader` None)."""

    def __init__(self, sock: socket.socket, until: float) -> None:
        self.sock = sock
        self.until = until
        self.reader: FrameReader | None = FrameReader()
        self.discarded = 0


class Desk(threading.Thread):
    """The thread; `close` is called from another one."""

    def __init__(
        self, listener: socket.socket, serving: Serving, limits: ServerLimits, timeouts: ServerTimeouts
    ) -> None:
        super().__init__(name="piece server", daemon=True)
        self._listener = listener
        self._serving = serving
        self._limits = limits
        self._timeouts = timeouts
        self._selector = selectors.DefaultSelector()
        self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._selector.register(self._wake_fd, selectors.EVENT_READ)
        self._selector.register(listener, selectors.EVENT_READ)
        self._accepting = True
        self._guests: set[Guest] = set()
        self._children: set[ChildConnection] = set()
        self._ended: deque[ChildConnection] = deque()
        self._closing = threading.Event()
        self._looked_at = serving.clock()

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
        busy = self._guests or self._children or not self._accepting
        for key, _ in self._selector.select(self._timeouts.tick if busy else None):
            if key.data is not None:
                self._read(key.data)
            elif key.fileobj is self._listener:
                self._accept()
            else:
                os.eventfd_read(self._wake_fd)
        while self._ended:
            self._reap(self._ended.popleft())
        if self._serving.clock() - self._looked_at >= self._timeouts.tick:
            self._look()

    # --- arrivals ---

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError as error:  # out of descriptors, most likely: the listener stays readable, so look away a while
            log.warning("cannot accept a connection: %s", error)
            self._selector.unregister(self._listener)
            self._accepting = False
            return
        try:
            tune(sock, stall=self._timeouts.stall)
            tune_sender(sock, stall=self._timeouts.stall)
        except OSError:  # gone already
            sock.close()
            return
        if len(self._guests) >= self._limits.connections + _MORE_GUESTS:
            sock.close()
            return
        guest = Guest(sock, self._serving.clock() + self._timeouts.hello)
        self._guests.add(guest)
        self._selector.register(sock, selectors.EVENT_READ, guest)
        if len(self._guests) + len(self._children) > self._limits.connections:
            self._refuse(guest, f"This parent serves {self._limits.connections} connections and takes no more now.")

    def _read(self, who: Guest | ChildConnection) -> None:
        try:
            data = who.sock.recv(_READ, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._gone(who)
            return
        try:
            if isinstance(who, ChildConnection):
                who.receive(data)
            else:
                self._greet(who, data)
        except frames.ProtocolError as error:
            self._breach(who, error)

    def _greet(self, guest: Guest, data: bytes) -> None:
        if guest.reader is None:
            guest.discarded += len(data)
            if guest.discarded > _MOST_READ_OF_A_LEAVING_GUEST:
                self._gone(guest)
            return
        events = guest.reader.receive(data)
        if not events:
            return
        match events[0]:
            case frames.Hello(version=frames.VERSION, node=node):
                self._welcome(guest, node, guest.reader, events[1:])
            case frames.Hello(version=version):
                self._refuse(
                    guest,
                    f"This parent speaks piece protocol {frames.VERSION}, the child {version}. "
                    "Run the same release of modeldist on both nodes.",
                )
            case _:
                raise frames.ProtocolError("A child says hello first.")

    def _welcome(self, guest: Guest, node: str, reader: FrameReader, more: list[Event]) -> None:
        child = ChildConnection(guest.sock, node, reader, self._serving, self._on_end)
        try:
            child.start()
        except RuntimeError:
            self._refuse(guest, "This parent has no thread left to serve with.")
            return
        self._guests.discard(guest)
        self._children.add(child)
        self._selector.modify(guest.sock, selectors.EVENT_READ, child)
        self._write_now(guest.sock, frames.MAGIC + frames.encode(frames.HelloOk(frames.VERSION, self._serving.node)))
        try:
            for event in more:
                child.take(event)
        except frames.ProtocolError as error:
            self._breach(child, error)

    # --- departures ---

    def _refuse(self, guest: Guest, reason: str) -> None:
        self._leave(guest, frames.MAGIC + frames.encode(frames.HelloRefused(frames.brief(reason))))

    def _leave(self, guest: Guest, last_words: bytes) -> None:
        """Say it, then read to the guest's end: closing with bytes unread resets the connection under the words."""
        guest.reader = None
        guest.until = self._serving.clock() + 1.0
        self._write_now(guest.sock, last_words)
        with contextlib.suppress(OSError):
            guest.sock.shutdown(socket.SHUT_WR)

    def _breach(self, who: Guest | ChildConnection, error: frames.ProtocolError) -> None:
        if isinstance(who, ChildConnection):
            self._selector.unregister(who.sock)
            who.stop(str(error))
        else:
            self._leave(who, _STRANGER)

    def _write_now(self, sock: socket.socket, data: bytes) -> None:
        """A few bytes into an empty send buffer; never waits."""
        with contextlib.suppress(OSError):
            sock.send(data, socket.MSG_DONTWAIT)

    def _gone(self, who: Guest | ChildConnection) -> None:
        self._selector.unregister(who.sock)
        if isinstance(who, ChildConnection):
            who.stop(None)
        else:
            self._guests.discard(who)
            who.sock.close()

    def _on_end(self, child: ChildConnection) -> None:
        """From the child's sender thread, at its end."""
        self._ended.append(child)
        self._wake()

    def _reap(self, child: ChildConnection) -> None:
        child.join()
        self._children.discard(child)
        if child.sock in self._registered():
            self._selector.unregister(child.sock)
        child.sock.close()

    def _registered(self) -> list[object]:
        return [key.fileobj for key in self._selector.get_map().values()]

    # --- now and then ---

    def _look(self) -> None:
        now = self._looked_at = self._serving.clock()
        if not self._accepting:
            self._selector.register(self._listener, selectors.EVENT_READ)
            self._accepting = True
        for guest in [guest for guest in self._guests if guest.until <= now]:
            self._gone(guest)
        for child in self._children:
            if now - child.idle_since() >= self._timeouts.idle:
                child.stop("This connection was idle.")
            elif now - child.silent_since() >= self._timeouts.silent:
                child.stop("The child went silent.")

    def _end_all(self) -> None:
        self._listener.close()
        for guest in list(self._guests):
            self._gone(guest)
        for child in self._children:
            child.stop("This parent is shutting down.")
        patience = time.monotonic() + _FAREWELL
        for child in self._children:
            child.join(max(0.0, patience - time.monotonic()))
        for child in self._children:
            child.hang_up()
            child.join()
            child.sock.close()
        self._children.clear()
        self._selector.close()
