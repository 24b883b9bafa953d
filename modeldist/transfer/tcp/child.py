"""A child at the server: one thread that reads what the child asks and sends what it gets.

The same thread does both, and looks at what was asked between two blocks: a thread that reads beside the one that sends
would cost a wake-up and a fight for the interpreter per request. Only news are told by the herald, unless a block is on
its way: then they wait for its end.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from modeldist.explain.waits import waits_for
from modeldist.transfer import frames
from modeldist.transfer.base import CheckCapability
from modeldist.transfer.frame_reader import Event, FrameReader
from modeldist.transfer.rate_limit import RateLimit
from modeldist.transfer.served_account import ServedAccount
from modeldist.transfer.tcp.herald import Herald
from modeldist.transfer.tcp.send_pace import SendPace
from modeldist.transfer.tcp.server_timeouts import ServerTimeouts
from modeldist.transfer.tcp.subscriptions import Subscriptions
from modeldist.transfer.tcp.wake_up import WakeUp
from modeldist.transfer.verbs.parent_lanes import ParentLanes, Place
from modeldist.transfer.verbs.rails import NodeRails

_READ = 64 * 1024
_SLOT_WAIT = 1.0  # seconds for memory to expose a piece from; then it is sent
_SLOT_LOOK = 0.02  # seconds

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Serving:
    """What all connections of a server share. `rails` is None without RDMA; `clock` in seconds."""

    node: str
    check: CheckCapability
    account: ServedAccount
    rate: RateLimit
    timeouts: ServerTimeouts
    herald: Herald
    rails: NodeRails | None
    clock: Callable[[], float]


class _Ended(Exception):
    """The connection is over; with a text, the child is told why."""


class ChildConnection(threading.Thread):
    """The desk calls `begin`, `stop`, `hang_up` and `join`, and closes the socket after `on_end`; the herald calls
    `tell_news`; the rest runs in the thread. Raises OSError when no descriptor is left."""

    def __init__(
        self, sock: socket.socket, node: str, reader: FrameReader, serving: Serving, on_end: Callable[[], None]
    ) -> None:
        super().__init__(name=f"serve {node}", daemon=True)
        self._sock = sock
        self._node = node
        self._reader = reader
        self._serving = serving
        self._on_end = on_end
        self._wake_up = WakeUp(sock)
        self._subscriptions = Subscriptions(
            node,
            serving.herald,
            serving.check,
            clock=serving.clock,
            on_news=lambda: serving.herald.has_news(self),
        )
        self._voice = threading.Lock()  # who has it speaks, and changes what is subscribed
        self._news_wait = False  # for the voice
        self._unsaid = b""  # what the kernel did not take from the herald
        self._pace = SendPace(sock)
        self._lanes = ParentLanes(serving.rails, serving.clock)
        self._requests: deque[frames.Request] = deque()
        self._in_service = 0
        self._unsent = 0  # of the request being sent
        self._of_model = True  # is what it asks for
        self._exposing = -1  # the lane of the request being exposed
        self._stop_reason: str | None = None
        self._heard_at = self._used_at = serving.clock()
        self._early: Sequence[Event] = ()

    def begin(self, early: Sequence[Event]) -> None:
        """Start serving. `early` are frames that came already. Raises RuntimeError, and holds nothing,
        when the system gives no thread."""
        self._early = early
        try:
            self.start()
        except RuntimeError:
            self._wake_up.close()
            raise

    def stop(self, reason: str) -> None:
        """Say goodbye after the block that is being sent, and end."""
        self._stop_reason = reason
        self._wake_up.set()

    def hang_up(self) -> None:
        """End whatever the thread waits for on the socket."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    @property
    def stopping(self) -> bool:
        return self._stop_reason is not None

    @property
    def idle_since(self) -> float | None:
        """By the server's clock; None while something is subscribed or asked."""
        return None if self._early or self._subscriptions or self._in_service else self._used_at

    def tell_news(self) -> None:
        """From the herald's thread; never waits."""
        self._news_wait = True  # before the look at the voice: who has it looks here after giving it back
        if self._voice.acquire(blocking=False):
            try:
                self._tell_now()
            finally:
                self._voice.release()

    def _tell_now(self) -> None:
        """With the voice. What the kernel does not take is left to the thread."""
        self._news_wait = False
        self._unsaid += self._news()
        try:
            sent = self._sock.send(self._unsaid, socket.MSG_DONTWAIT) if self._unsaid else 0
        except BlockingIOError:
            sent = 0
        except OSError:
            return  # the thread will learn of it by itself
        self._unsaid = self._unsaid[sent:]
        if self._unsaid:
            self._news_wait = True
            self._wake_up.set()

    def _news(self) -> bytes:
        return b"".join(map(frames.encode, self._subscriptions.take_news()))

    # --- the thread ---

    def run(self) -> None:
        try:
            self._take_all(self._early)
            self._early = ()
            while True:
                self._wait_for_a_request()
                self._serve(self._requests.popleft())
        except (_Ended, frames.ProtocolError) as end:
            self._say_goodbye(str(end))
        except OSError as error:
            log.debug("child %s is gone: %s", self._node, error)
        finally:
            try:
                self._release()
            finally:
                self._on_end()

    def _wait_for_a_request(self) -> None:
        timeouts = self._serving.timeouts
        while not self._requests:
            self._attend()
            if self._requests:
                return
            now = self._serving.clock()
            wait = self._heard_at + timeouts.silent - now
            if wait <= 0:
                raise _Ended("The child went silent.")
            if (deadline := self._lanes.next_deadline) is not None:
                wait = max(0.0, min(wait, deadline - now))
            if not self._subscriptions:
                wait = min(wait, self._used_at + timeouts.idle - now)
                if wait <= 0:
                    raise _Ended("This connection was idle.")
            self._wake_up.wait(wait)

    def _attend(self) -> None:
        """What may happen between two blocks: answer what was asked meanwhile, tell news. Never waits for the child."""
        if self._stop_reason is not None:
            raise _Ended(self._stop_reason)
        try:
            data = self._sock.recv(_READ, socket.MSG_DONTWAIT)
        except BlockingIOError:
            pass
        else:
            if not data:
                raise _Ended
            self._heard_at = self._serving.clock()
            self._take_all(self._reader.receive(data))
        for closed in self._lanes.overdue():
            with self._voice:
                self._tell(closed)
            self._drop_requests(closed.lane)
        while self._news_wait:
            with self._voice:
                self._news_wait = False
                self._say(self._news())

    def _take_all(self, events: Iterable[Event]) -> None:
        with self._voice:
            for event in events:
                self._take(event)

    def _take(self, event: Event) -> None:
        """With the voice."""
        match event:
            case frames.Ping(token=token):
                self._tell(frames.Pong(token))
                return
            case frames.Request(request=request, length=length):
                if self._serving.account.admit(length, waiting=self._in_service):
                    self._in_service += 1
                    self._requests.append(event)
                else:
                    after = self._serving.account.retry_after()
                    self._tell(frames.Busy(request, int(after * 1000)))
            case frames.Subscribe():
                self._tell(self._subscriptions.add(event))
            case frames.Unsubscribe(subscription=number):
                self._subscriptions.remove(number)
            case frames.LanesWanted():
                self._tell(self._lanes.open(event))
            case frames.Landed():
                self._lanes.landed(event)
            case frames.LaneClosed():
                self._lanes.drop(event)
                self._drop_requests(event.lane)
            case frames.Goodbye():
                raise _Ended
            case _:
                raise frames.ProtocolError(f"A child does not send {type(event).__name__} here.")
        self._used_at = self._serving.clock()

    def _drop_requests(self, lane: int) -> None:
        """With the end of a lane the child gives up what it had asked for over it, and asks for it anew: that is not
        sent for nothing, nor exposed on the lane's successor of the same number."""
        if lane == self._exposing:
            self._exposing = -1
        given_up = [request for request in self._requests if request.lane == lane]
        self._requests = deque(request for request in self._requests if request.lane != lane)
        for request in given_up:
            self._serving.account.finished(request.length)
            self._in_service -= 1

    # --- bodies ---

    def _serve(self, request: frames.Request) -> None:
        self._unsent = request.length
        self._of_model = not self._subscriptions.measures(request)
        try:
            opened = self._subscriptions.readable(request)
            if isinstance(opened, str):
                with self._voice:
                    self._tell(frames.Refused(request.request, frames.brief(opened)))
            elif not self._expose_range(request, opened.fd):
                self._send_range(request, opened.fd)
        finally:
            self._serving.account.finished(self._unsent)
            self._in_service -= 1
            self._used_at = self._serving.clock()

    def _expose_range(self, request: frames.Request, fd: int) -> bool:
        """Part by part on the lane that was asked for; False when it has to be sent. A lane that ends on the way takes
        the request with it: the child asks for the rest anew."""
        if not self._lanes.is_open(request.lane):
            return False
        self._exposing = request.lane
        patience = self._serving.clock() + _SLOT_WAIT
        while self._unsent:
            done = request.length - self._unsent
            place = self._await_place(request, fd, patience if not done else math.inf)
            if place is None:
                return bool(done) or not self._goes_on(request.lane)
            length = min(self._unsent, place.length)
            frame = self._lanes.expose(request.lane, request, done, place, fd, length)
            with self._voice:
                self._tell(frame)
            if isinstance(frame, frames.LaneClosed):
                self._drop_requests(frame.lane)
                return True
            self._serving.account.sent(length, of_model=self._of_model)
            self._unsent -= length
            self._await_turn(self._serving.rate.reserve(length))
            self._attend()
        return True

    def _goes_on(self, lane: int) -> bool:
        return lane == self._exposing and self._lanes.is_open(lane)

    def _await_place(self, request: frames.Request, fd: int, until: float) -> Place | None:
        """Memory to expose the next part from; None when there is none in time, or the lane has ended."""
        start = request.start + request.length - self._unsent
        while self._goes_on(request.lane):
            if (place := self._lanes.place(request.lane, fd, start, self._unsent)) is not None:
                return place
            if self._serving.clock() >= until:
                return None
            self._wake_up.wait(_SLOT_LOOK)
            self._attend()
        return None

    def _send_range(self, request: frames.Request, fd: int) -> None:
        while self._unsent:
            block = min(self._unsent, self._serving.rate.block, self._pace.block)
            self._await_turn(self._serving.rate.reserve(block))
            began = self._serving.clock()
            header = frames.encode_body_header(request.request, block, last=block == self._unsent)
            with self._voice:
                self._say(header, socket.MSG_MORE)
                self._send_block(fd, request.start + request.length - self._unsent, block)
            self._pace.sent(block, self._serving.clock() - began)
            if self._unsent:
                self._attend()

    @waits_for("sending")
    def _send_block(self, fd: int, offset: int, length: int) -> None:
        while length:
            sent = os.sendfile(self._sock.fileno(), fd, offset, length)
            if not sent:
                raise OSError(f"the shard ended at byte {offset}")
            self._serving.account.sent(sent, of_model=self._of_model)
            self._unsent -= sent
            offset += sent
            length -= sent

    @waits_for("upload_limit")
    def _await_turn(self, seconds: float) -> None:
        """Let the other children's blocks go first."""
        turn = self._serving.clock() + seconds
        while (wait := turn - self._serving.clock()) > 0:
            self._attend()
            self._wake_up.wait(wait)

    # --- words, with the voice ---

    def _tell(self, frame: frames.Control) -> None:
        self._say(frames.encode(frame))

    def _say(self, words: bytes, flags: int = 0) -> None:
        words, self._unsaid = self._unsaid + words, b""
        if words:
            self._sock.sendall(words, flags)

    def _say_goodbye(self, reason: str) -> None:
        if reason:
            with self._voice, contextlib.suppress(OSError):
                goodbye = frames.encode(frames.Goodbye(frames.brief(reason)))
                self._sock.send(self._unsaid + goodbye, socket.MSG_DONTWAIT)

    def _release(self) -> None:
        """Give back what the child held."""
        self.hang_up()
        for request in self._requests:
            self._serving.account.finished(request.length)
        self._requests.clear()
        self._lanes.close()
        with self._voice:
            self._subscriptions.close()
        self._wake_up.close()
