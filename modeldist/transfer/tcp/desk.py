"""The server's reception: it accepts, greets, shows strangers out, and cleans up after children that left.

A connection without an accepted subscription is a `Guest`: it costs no thread, has a few seconds, gets a clear end and
takes no child's place. Where guests crowd the oldest goes: who may be a child becomes one in a round trip.
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
from modeldist.transfer.frame_reader import Event
from modeldist.transfer.tcp.child import ChildConnection, Serving
from modeldist.transfer.tcp.introduction import Introduction, refusal
from modeldist.transfer.tcp.socket_tuning import tune, tune_sender
from modeldist.transfer.tcp.tls_child import TlsChildConnection
from modeldist.transfer.tcp.tls_socket import TlsChannel, TlsSocket
from modeldist.transfer.tls.security import PieceSecurity

_READ = 64 * 1024
_TICK = 0.25  # seconds between two looks at the guests
_FAREWELL = 0.5  # seconds for all children together to be told goodbye when the server closes
_MORE_GUESTS = 64  # than children are served; beyond it the oldest goes for every new one
_MOST_READ_OF_A_LEAVING_GUEST = 1 << 20
_CLOSING = "This parent is shutting down."
_TLS = b"\x16"  # how it begins; the piece protocol begins with a letter
_NOT_IN_THE_CLEAR = (
    "This cluster requires TLS between nodes, and the child speaks none. Enrol it with a join token, and run the same "
    "release of modeldist on both nodes."
)

log = logging.getLogger(__name__)


class Guest:
    """`unheard`: it may begin with TLS. `leaving`: it was told to go, and is read to its end."""

    def __init__(self, sock: socket.socket, introduction: Introduction, until: float, *, unheard: bool) -> None:
        self.sock = sock
        self.introduction = introduction
        self.until = until
        self.unheard = unheard
        self.leaving = False
        self.discarded = 0


class Desk(threading.Thread):
    """`close` and `security_changed` are called from other threads, `_left` from the children's; the rest runs in this
    one."""

    def __init__(
        self, listener: socket.socket, serving: Serving, limits: ServerLimits, security: PieceSecurity
    ) -> None:
        super().__init__(name="piece server", daemon=True)
        self._listener = listener
        self._serving = serving
        self._limits = limits
        self._security = security
        self._selector = selectors.DefaultSelector()
        self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._selector.register(self._wake_fd, selectors.EVENT_READ)
        self._selector.register(listener, selectors.EVENT_READ)
        self._accepting = True
        self._guests: dict[Guest, None] = {}  # oldest first
        self._children: dict[socket.socket, ChildConnection] = {}
        self._gone: deque[socket.socket] = deque()
        self._closing = threading.Event()
        self._security_changed = threading.Event()

    def close(self) -> None:
        """End everything; returns when the thread and all others of this server are gone. Call it once."""
        self._closing.set()
        self._wake()
        self.join()
        os.close(self._wake_fd)  # not by the thread, which may be gone before the lines above

    def security_changed(self) -> None:
        """Children that are served in the clear go, where that is no longer allowed. Not after `close`."""
        if self._security.required:
            self._security_changed.set()
            self._wake()

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
        if self._security_changed.is_set():
            self._security_changed.clear()
            self._end_what_is_in_the_clear()
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
            self._show_out(next(iter(self._guests)), "Others wait here too, and no subscription was accepted yet.")
        lanes = frames.LANES_VERSION if self._serving.rails is not None else 0
        introduction = Introduction(self._serving.node, self._serving.check, lanes=lanes)
        until = self._serving.clock() + self._serving.timeouts.hello
        guest = Guest(sock, introduction, until, unheard=self._security.mode != "off")
        self._guests[guest] = None
        self._selector.register(sock, selectors.EVENT_READ, guest)
        if not guest.unheard:
            self._turn_away(guest)

    def _turn_away(self, guest: Guest) -> bool:
        """If there is no room."""
        if self._full and self._idle_child() is None:
            self._last_words(guest, refusal(self._no_more))
            return True
        return False

    def _begin(self, guest: Guest) -> None:
        """Its first byte says whether TLS is what it speaks. Bytes that come over RDMA would be in the clear."""
        try:
            first = guest.sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            first = b""
        guest.unheard = False
        contexts = self._security.contexts
        if first == _TLS and contexts is not None:
            guest.sock = TlsSocket(guest.sock, TlsChannel(contexts.parent, as_parent=True))
            guest.introduction = Introduction(self._serving.node, self._serving.check)
        elif first and self._security.required:
            self._last_words(guest, refusal(_NOT_IN_THE_CLEAR))
        else:
            self._turn_away(guest)

    def _read(self, guest: Guest) -> None:
        if guest not in self._guests:  # shown out a moment ago
            return
        if guest.unheard:
            self._begin(guest)
            if guest.unheard:
                return
        try:
            data = guest.sock.recv(_READ, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError as error:
            if isinstance(guest.sock, TlsSocket) and not guest.leaving:
                log.debug("a connection from another node came to nothing: %s", error)
            data = b""
        if not data:
            self._show_out(guest)
        elif guest.leaving:
            guest.discarded += len(data)
            if guest.discarded > _MOST_READ_OF_A_LEAVING_GUEST:
                self._show_out(guest)
        else:
            self._answer(guest, data)

    def _answer(self, guest: Guest, data: bytes) -> None:
        if isinstance(guest.sock, TlsSocket) and not guest.introduction.certified:
            guest.introduction.certified = guest.sock.channel.peer
            if self._turn_away(guest):
                return
        greeted = bool(guest.introduction.child)
        answer = guest.introduction.hear(data)
        if answer.over:
            self._last_words(guest, answer.words)
        elif not self._write_now(guest.sock, answer.words):  # it takes nothing and says much
            self._show_out(guest)
        elif answer.proven:
            self._welcome(guest, answer.proven)
        elif guest.introduction.child and not greeted:
            guest.until = self._serving.clock() + self._serving.timeouts.subscribe

    # --- from guest to child ---

    def _welcome(self, guest: Guest, early: tuple[Event, ...]) -> None:
        sock, introduction = guest.sock, guest.introduction
        if not self._make_room():
            self._last_words(guest, introduction.farewell(self._no_more))
            return
        kind = TlsChildConnection if isinstance(sock, TlsSocket) else ChildConnection
        try:
            child = kind(sock, introduction.child, introduction.reader, self._serving, lambda: self._left(sock))
        except OSError:
            self._last_words(guest, introduction.farewell("This parent has no descriptor left to serve with."))
            return
        del self._guests[guest]
        self._selector.unregister(sock)
        self._children[sock] = child
        try:
            child.begin(early)
        except RuntimeError as error:
            log.warning("cannot serve child %s: %s", introduction.child, error)
            del self._children[sock]
            sock.close()

    @property
    def _no_more(self) -> str:
        return f"This parent serves {self._limits.connections} connections and takes no more now."

    @property
    def _full(self) -> bool:
        return sum(not child.stopping for child in self._children.values()) >= self._limits.connections

    def _make_room(self) -> bool:
        """For one more child; one that is subscribed to nothing any more goes for it."""
        if not self._full:
            return True
        idle = self._idle_child()
        if idle is None:
            return False
        idle.stop("This connection was idle, and another child needs its place.")
        return True

    def _idle_child(self) -> ChildConnection | None:
        """The one that is idle longest."""
        staying = (child for child in self._children.values() if not child.stopping)
        idle = [(since, child) for child in staying if (since := child.idle_since) is not None]
        return min(idle, key=lambda pair: pair[0])[1] if idle else None

    # --- ends ---

    def _last_words(self, guest: Guest, words: bytes) -> None:
        """Say it, then read to the guest's end: closing with bytes unread resets the connection under the words."""
        guest.leaving = True
        guest.until = self._serving.clock() + 1.0
        self._write_now(guest.sock, words)
        with contextlib.suppress(OSError):
            guest.sock.shutdown(socket.SHUT_WR)

    def _write_now(self, sock: socket.socket, data: bytes) -> bool:
        """Whether the send buffer took it all; never waits."""
        try:
            return not data or sock.send(data, socket.MSG_DONTWAIT) == len(data)
        except OSError:
            return False

    def _show_out(self, guest: Guest, reason: str = "") -> None:
        if reason and not guest.leaving:
            self._write_now(guest.sock, guest.introduction.farewell(reason))
        self._selector.unregister(guest.sock)
        del self._guests[guest]
        guest.sock.close()

    def _look(self) -> None:
        """Now and then: whose time is over, and is there room for more."""
        now = self._serving.clock()
        if not self._accepting:
            self._selector.register(self._listener, selectors.EVENT_READ)
            self._accepting = True
        for guest in [guest for guest in self._guests if guest.until <= now]:
            self._show_out(guest, "No subscription with a capability that holds came in time.")

    def _end_what_is_in_the_clear(self) -> None:
        for guest in [guest for guest in self._guests if not isinstance(guest.sock, TlsSocket)]:
            if not guest.unheard and not guest.leaving:
                self._last_words(guest, guest.introduction.farewell(_NOT_IN_THE_CLEAR))
        for sock, child in self._children.items():
            if not isinstance(sock, TlsSocket):
                child.stop(_NOT_IN_THE_CLEAR)

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
            self._show_out(guest, _CLOSING)
        for child in self._children.values():
            child.stop(_CLOSING)
        patience = time.monotonic() + _FAREWELL
        for child in self._children.values():
            child.join(max(0.0, patience - time.monotonic()))
        for sock, child in self._children.items():
            child.hang_up()
            child.join()
            sock.close()
        self._children.clear()
        self._selector.close()
