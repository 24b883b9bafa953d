"""A child at the server: one sender thread that answers what the desk read from it.

Two queues: urgent frames (subscriptions, busy, pong) go out between blocks; requests are served in their order.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from modeldist.artifact import Digest
from modeldist.scheduler.pieces import PieceSet
from modeldist.transfer import frames
from modeldist.transfer.base import CheckCapability, ShardDirectory
from modeldist.transfer.frame_reader import Event, FrameReader
from modeldist.transfer.served_account import ServedAccount
from modeldist.transfer.served_shard import ServedShard
from modeldist.transfer.tcp.send_pace import SendPace
from modeldist.transfer.upload_rate import UploadRate

_MOST_WAITING = 4096  # frames of one child not yet answered
_MOST_SUBSCRIPTIONS = 8192

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Serving:
    """What all connections of a server share. `clock` in seconds."""

    node: str
    directory: ShardDirectory
    check: CheckCapability
    account: ServedAccount
    rate: UploadRate
    clock: Callable[[], float]


class _Stopped(Exception):
    """The connection is to end now."""


class ChildConnection:
    """`receive`, `stop` and `ended` belong to the desk; the rest runs in the sender thread."""

    def __init__(
        self,
        sock: socket.socket,
        node: str,
        reader: FrameReader,
        serving: Serving,
        on_end: Callable[[ChildConnection], None],
    ) -> None:
        self.sock = sock
        self._node = node
        self._reader = reader
        self._serving = serving
        self._on_end = on_end
        self._wake = threading.Condition()
        self._urgent: deque[frames.Control] = deque()
        self._requests: deque[frames.Request] = deque()
        self._in_service = 0
        self._pace = SendPace(sock)
        self._unsent = 0
        self._stop_reason: str | None = None
        self._released = False
        self._shards: dict[int, ServedShard] = {}
        self._with_news: set[int] = set()
        self._heard_at = self._used_at = serving.clock()
        self._thread = threading.Thread(target=self._run, name=f"serve {node}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    # --- the desk's side ---

    def receive(self, data: bytes) -> None:
        """What arrived from the child. Raises ProtocolError."""
        self._heard_at = self._serving.clock()
        for event in self._reader.receive(data):
            self.take(event)

    def take(self, event: Event) -> None:
        """Queue one frame. Raises ProtocolError."""
        match event:
            case frames.Request(request=request, length=length):
                if self._serving.account.admit(length, waiting=self._in_service):
                    self._queue_request(event)
                else:
                    after = self._serving.account.retry_after()
                    self._queue_urgent(frames.Busy(request, int(after * 1000)))
            case frames.Subscribe() | frames.Unsubscribe():
                self._queue_urgent(event)
            case frames.Ping(token=token):
                self._queue_urgent(frames.Pong(token))
            case frames.Goodbye():
                self.stop(None)
            case _:
                raise frames.ProtocolError(f"A child does not send {type(event).__name__} here.")

    def _queue_request(self, request: frames.Request) -> None:
        with self._wake:
            if not self._released:
                self._in_service += 1
                self._requests.append(request)
                self._wake.notify()
                return
        self._serving.account.finished(request.length)

    def _queue_urgent(self, frame: frames.Control) -> None:
        with self._wake:
            self._urgent.append(frame)
            self._wake.notify()
        if len(self._urgent) + len(self._requests) > _MOST_WAITING:
            raise frames.ProtocolError(f"More than {_MOST_WAITING} frames wait for an answer.")

    def stop(self, reason: str | None) -> None:
        """End soon: with a reason, say goodbye at the next block; without, the child is gone and nothing is sent."""
        with self._wake:
            if self._stop_reason is None:
                self._stop_reason = reason or ""
            self._wake.notify()
        if reason is None:
            self.hang_up()

    def hang_up(self) -> None:
        """Wake the sender from whatever it waits for."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def idle_since(self) -> float:
        """When the child last asked for something; now while it waits for pieces or for news of shards."""
        if self._in_service or self._shards or self._urgent:
            return self._serving.clock()
        return self._used_at

    def silent_since(self) -> float:
        """When the last byte came from it."""
        return self._heard_at

    def join(self, timeout: float | None = None) -> None:
        """Wait for the sender thread, at most `timeout` seconds."""
        self._thread.join(timeout)

    # --- the sender thread ---

    def _run(self) -> None:
        try:
            while True:
                self._wait()
                self._send_urgent()
                if self._requests:
                    self._serve(self._requests.popleft())
        except _Stopped:
            self._say_goodbye()
        except OSError as error:
            log.debug("child %s is gone: %s", self._node, error)
        finally:
            try:
                self._release()
            finally:
                self._on_end(self)

    def _wait(self) -> None:
        """Until there is something to do."""
        with self._wake:
            while self._stop_reason is None and not self._urgent and not self._requests:
                due = self._next_news()
                wait = None if due is None else due - self._serving.clock()
                if wait is not None and wait <= 0:
                    return
                self._wake.wait(wait)

    def _send_urgent(self) -> None:
        if self._stop_reason is not None:
            raise _Stopped
        while self._urgent:
            self._answer(self._urgent.popleft())
        if self._with_news:
            self._send_news()

    def _answer(self, frame: frames.Control) -> None:
        self._used_at = self._serving.clock()
        match frame:
            case frames.Subscribe():
                self._subscribe(frame)
            case frames.Unsubscribe(subscription=number):
                if shard := self._shards.pop(number, None):
                    shard.close()
            case _:
                self._send(frame)

    def _subscribe(self, frame: frames.Subscribe) -> None:
        number = frame.subscription
        shard = self._shards.get(number)
        if shard is None:
            if len(self._shards) >= _MOST_SUBSCRIPTIONS:
                self._send(frames.SubscribeRefused(number, "Too many subscriptions on one connection."))
                return
            shard = self._served(frame)
        elif not shard.is_of(frame.shard):
            self.stop("One subscription number was used for two shards.")
            raise _Stopped
        shard.renew(frame.capability)
        if not shard.allowed:
            self._send(frames.SubscribeRefused(number, "The capability for this shard has expired or does not hold."))
            return
        self._shards[number] = shard
        try:
            have = shard.start(self._serving.clock())
        except Exception:
            log.exception("cannot open shard %s for child %s", frame.shard, self._node)
            have = PieceSet()
        self._send(frames.Have.of(number, have))

    def _served(self, frame: frames.Subscribe) -> ServedShard:
        return ServedShard(
            Digest(frame.shard),
            self._node,
            directory=self._serving.directory,
            check=self._serving.check,
            on_news=lambda: self._notify(frame.subscription),
        )

    # --- have-updates ---

    def _notify(self, number: int) -> None:
        """A subscribed shard has news; from whichever thread verified a piece."""
        with self._wake:
            self._with_news.add(number)
            self._wake.notify()

    def _next_news(self) -> float | None:
        """When the next have-update is due. Holds the lock."""
        shards = [self._shards[number] for number in self._with_news if number in self._shards]
        return min((due for shard in shards if (due := shard.news_due) is not None), default=None)

    def _send_news(self) -> None:
        now = self._serving.clock()
        with self._wake:
            numbers = list(self._with_news)
        for number in numbers:
            shard = self._shards.get(number)
            due = shard.news_due if shard else None
            if due is not None and due > now:
                continue
            with self._wake:  # before the news are taken: what comes in between is taken along, what comes later noted
                self._with_news.discard(number)
            if shard and (news := shard.take_news(now)) and shard.allowed:
                self._send(frames.Have.of(number, news))

    # --- requests ---

    def _serve(self, request: frames.Request) -> None:
        self._unsent = request.length
        try:
            shard = self._shards.get(request.subscription)
            opened = shard.readable(request.start, request.length) if shard else "Not subscribed to this shard."
        except Exception:
            log.exception("cannot read a shard for child %s", self._node)
            opened = "This node cannot read the shard; its log says why."
        try:
            if isinstance(opened, str):
                self._send(frames.Refused(request.request, frames.brief(opened)))
            else:
                self._send_range(request, opened.fd)
        finally:
            self._serving.account.finished(self._unsent)
            with self._wake:
                self._in_service -= 1
            self._used_at = self._serving.clock()

    def _send_range(self, request: frames.Request, fd: int) -> None:
        while self._unsent:
            block = min(self._unsent, self._serving.rate.block, self._pace.block)
            self._await_turn(self._serving.rate.reserve(block))
            began = self._serving.clock()
            header = frames.encode_body_header(request.request, block, last=block == self._unsent)
            self.sock.sendall(header, socket.MSG_MORE)
            self._send_block(fd, request.start + request.length - self._unsent, block)
            self._pace.sent(block, self._serving.clock() - began)
            if self._unsent:
                self._send_urgent()

    def _send_block(self, fd: int, offset: int, length: int) -> None:
        while length:
            sent = os.sendfile(self.sock.fileno(), fd, offset, length)
            if not sent:
                raise OSError(f"the shard ended at byte {offset}")
            self._serving.account.sent(sent)
            self._unsent -= sent
            offset += sent
            length -= sent

    def _await_turn(self, seconds: float) -> None:
        if seconds > 0:
            with self._wake:
                self._wake.wait_for(lambda: self._stop_reason is not None, seconds)
            if self._stop_reason is not None:
                raise _Stopped

    def _send(self, frame: frames.Control) -> None:
        self.sock.sendall(frames.encode(frame))

    def _say_goodbye(self) -> None:
        if self._stop_reason:
            with contextlib.suppress(OSError):
                self.sock.send(frames.encode(frames.Goodbye(frames.brief(self._stop_reason))), socket.MSG_DONTWAIT)

    def _release(self) -> None:
        """Give back what the child held; whoever closes the socket is the desk."""
        self.hang_up()
        with self._wake:
            self._released = True
            waiting = list(self._requests)
            self._requests.clear()
        for request in waiting:
            self._serving.account.finished(request.length)
        for shard in self._shards.values():
            shard.close()
        self._shards.clear()
