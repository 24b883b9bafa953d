"""A child's connection to one parent: one reader thread that takes answers and moves bodies into files.

Requests are written by whoever asks, without waiting. Only the reader thread touches a fetch's file, and it hands out
every outcome after its last touch, so a caller may close the file as soon as it has the outcome.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass

from modeldist.artifact import Digest
from modeldist.scheduler.pieces import PieceSet
from modeldist.transfer import base, frames
from modeldist.transfer.frame_reader import Event, FrameReader
from modeldist.transfer.tcp.incoming import Incoming, Range

log = logging.getLogger(__name__)


@dataclass
class _Fetch:
    """A request on its way."""

    range: Range
    on_outcome: base.OnOutcome
    sent_at: float


@dataclass
class _Subscription:
    number: int
    refusal: str = ""


class _ConnectionEnded(Exception):
    """The parent is of no more use; the text says why."""


class TcpPeerConnection:
    """Made by `TcpTransport.connect`. Every callback comes from the reader thread, except the outcome of a fetch that
    cannot even be sent, which comes from within `fetch`."""

    transport = "tcp"

    def __init__(
        self,
        sock: socket.socket,
        reader: FrameReader,
        parent: str,
        *,
        on_have: base.OnHave,
        on_closed: base.OnClosed,
        stall: float,
        hash_below: float,
        clock: Callable[[], float],
    ) -> None:
        self._sock = sock
        self._reader = reader
        self._parent = parent
        self._on_have = on_have
        self._on_closed = on_closed
        self._stall = stall
        self._clock = clock
        self._incoming = Incoming(
            sock, tick=stall / 8, hash_below=hash_below, clock=clock, on_silence=self._nothing_came
        )
        self._pinged_at = 0.0
        # shared between the reader thread and callers
        self._lock = threading.Lock()
        self._outbox = bytearray()
        self._fetches: dict[int, _Fetch] = {}
        self._subscriptions: dict[Digest, _Subscription] = {}
        self._shard_of: dict[int, Digest] = {}
        self._last_number = 0
        self._ended: str | None = None
        self._closed_here = False
        self._thread = threading.Thread(target=self._run, name=f"fetch {parent}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    # --- the caller's side ---

    def subscribe(self, shard: Digest, capability: bytes) -> None:
        """Ask to be told what the parent holds of `shard`; again with a new capability to renew the old one.
        Raises ValueError for a capability longer than the protocol carries."""
        if len(capability) > frames.MAX_CAPABILITY:
            raise ValueError(f"a capability of {len(capability)} bytes is too long")
        with self._lock:
            subscription = self._subscriptions.get(shard)
            if subscription is None:
                subscription = _Subscription(self._next_number())
                self._subscriptions[shard] = subscription
                self._shard_of[subscription.number] = shard
            subscription.refusal = ""
            self._post(frames.Subscribe(subscription.number, shard, capability))

    def unsubscribe(self, shard: Digest) -> None:
        with self._lock:
            subscription = self._subscriptions.pop(shard, None)
            if subscription:
                del self._shard_of[subscription.number]
                self._post(frames.Unsubscribe(subscription.number))

    def fetch(self, shard: Digest, start: int, length: int, into: base.Into, on_outcome: base.OnOutcome) -> None:
        """Request a range; returns at once. Raises ValueError for a length the protocol cannot carry."""
        if not 0 < length <= frames.MAX_REQUEST:
            raise ValueError(f"a range of {length} bytes cannot be requested")
        outcome = self._request(
            shard, start, _Fetch(Range(into.fd, into.offset, length, into.hash), on_outcome, self._clock())
        )
        if outcome is not None:
            on_outcome(outcome)

    def _request(self, shard: Digest, start: int, fetch: _Fetch) -> base.Outcome | None:
        """Ask for it; an outcome when that is pointless."""
        with self._lock:
            if self._ended is not None or self._closed_here:
                return base.Lost(self._ended or "The connection was closed.")
            subscription = self._subscriptions.get(shard)
            if subscription is None:
                return base.Refused("Not subscribed to this shard.")
            if subscription.refusal:
                return base.Refused(subscription.refusal)
            number = self._next_number()
            self._fetches[number] = fetch
            self._post(frames.Request(number, subscription.number, start, fetch.range.length))
        return None

    def close(self) -> None:
        """Returns at once; what is outstanding ends as Lost, from the reader thread."""
        with self._lock:
            if self._ended is None and not self._closed_here:
                self._closed_here = True
                self._post(frames.Goodbye("The child is done."))
                self._hang_up()

    def _next_number(self) -> int:
        self._last_number += 1
        return self._last_number

    def _post(self, frame: frames.Control) -> None:
        """Send, or keep what the kernel does not take now for the reader thread to send. Holds the lock."""
        if self._ended is None:
            self._outbox += frames.encode(frame)
            self._flush()

    def _flush(self) -> None:
        try:
            sent = self._sock.send(self._outbox, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            self._hang_up()  # the reader thread learns of it and ends the connection
            return
        del self._outbox[:sent]

    def _hang_up(self) -> None:
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    # --- the reader thread ---

    def _run(self) -> None:
        reason = f"The connection to {self._parent} failed; the log says why."
        try:
            while True:
                for event in self._reader.receive(self._incoming.read(self._reader.wants)):
                    self._take(event)
                if self._outbox:
                    with self._lock:
                        self._flush()
        except (frames.ProtocolError, _ConnectionEnded) as error:
            reason = str(error)
        except EOFError:
            reason = f"The parent at {self._parent} closed the connection."
        except OSError as error:
            reason = f"The connection to {self._parent} broke: {error.strerror or error}."
        except Exception:
            log.exception("the connection to %s failed", self._parent)
        finally:
            self._finish(reason)

    def _nothing_came(self) -> None:
        """For a fraction of the stall time. Raises _ConnectionEnded when it is used up."""
        now = self._clock()
        if now - self._incoming.heard_at >= self._stall:
            raise _ConnectionEnded(f"Nothing came from {self._parent} for {self._stall:g} s.")
        with self._lock:
            if now - max(self._incoming.heard_at, self._pinged_at) >= self._stall / 3:
                self._pinged_at = now
                self._post(frames.Ping(self._next_number()))
            elif self._outbox:
                self._flush()

    def _take(self, event: Event) -> None:
        match event:
            case frames.Body():
                self._take_body(event)
            case frames.Have(subscription=number):
                self._tell(number, event.pieces)
            case frames.SubscribeRefused(subscription=number, reason=reason):
                self._subscribe_refused(number, reason)
            case frames.Busy(request=request, retry_after_ms=wait):
                self._settle(request, base.Busy(wait / 1000))
            case frames.Refused(request=request, reason=reason):
                self._settle(request, base.Refused(reason))
            case frames.Pong():
                pass
            case frames.Goodbye(reason=reason):
                raise _ConnectionEnded(f"The parent at {self._parent} ended the connection: {reason}")
            case _:
                raise frames.ProtocolError(f"A parent does not send {type(event).__name__} here.")

    def _take_body(self, body: frames.Body) -> None:
        fetch = self._fetches.get(body.request)
        if fetch is None:
            raise frames.ProtocolError(f"The parent sent a range nobody asked for (request {body.request}).")
        mine = fetch.range
        if mine.done + body.length > mine.length or body.last != (mine.done + body.length == mine.length):
            raise frames.ProtocolError(f"The parent sent more or less than the {mine.length} bytes asked for.")
        self._incoming.take_block(mine, body.length)
        self._reader.body_moved(body.length)
        if body.last and mine.failed is not None:
            self._settle(body.request, base.NotWritten(mine.failed))
        elif body.last:
            seconds = self._incoming.heard_at - fetch.sent_at
            self._settle(body.request, base.Received(mine.length, seconds, hashed=mine.hash is not None))

    def _settle(self, request: int, outcome: base.Outcome) -> None:
        with self._lock:
            fetch = self._fetches.pop(request, None)
        if fetch is None:
            raise frames.ProtocolError(f"The parent answered a request that was never made ({request}).")
        _call(lambda: fetch.on_outcome(outcome))

    def _tell(self, number: int, pieces: PieceSet) -> None:
        with self._lock:
            shard = self._shard_of.get(number)
        if shard is not None:  # else it was unsubscribed meanwhile
            _call(lambda: self._on_have(shard, pieces))

    def _subscribe_refused(self, number: int, reason: str) -> None:
        with self._lock:
            shard = self._shard_of.get(number)
            if shard is None:
                return
            self._subscriptions[shard].refusal = reason
        log.warning("parent %s refused shard %s: %s", self._parent, shard, reason)
        _call(lambda: self._on_have(shard, PieceSet()))

    def _finish(self, reason: str) -> None:
        with self._lock:
            if self._closed_here:
                reason = "The connection was closed."
            self._ended = reason
            fetches, self._fetches = list(self._fetches.values()), {}
            self._sock.close()
        self._incoming.close()
        for fetch in fetches:
            _call(lambda fetch=fetch: fetch.on_outcome(base.Lost(reason)))  # type: ignore[misc]
        if not self._closed_here:
            _call(lambda: self._on_closed(reason))


def _call(callback: Callable[[], None]) -> None:
    """A caller's mistake must not take the reader thread with it: the other fetches would never end."""
    try:
        callback()
    except Exception:
        log.exception("a transfer callback failed")
