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
from modeldist.transfer.tcp.news_limit import NewsLimit
from modeldist.transfer.tcp.tls_incoming import TlsIncoming
from modeldist.transfer.tcp.tls_socket import TlsSocket
from modeldist.transfer.verbs.child_lanes import ChildLanes
from modeldist.transfer.verbs.detours import NO_MEMORY, Detours
from modeldist.transfer.verbs.lane_fetch import LaneFetch
from modeldist.transfer.verbs.rails import NodeRails

log = logging.getLogger(__name__)


@dataclass
class _Fetch:
    """A request on its way. `range` is what is left of it to come over the connection; with `over_lane` it comes over a
    lane. `detour`: why it does not."""

    shard: Digest
    start: int
    range: Range
    on_outcome: base.OnOutcome
    sent_at: float
    length: int
    over_lane: LaneFetch | None = None
    detour: str = ""


@dataclass
class _Subscription:
    number: int
    refusal: str = ""


class _ConnectionEnded(Exception):
    """The parent is of no more use; the text says why."""


class TcpPeerConnection:
    """Made by `TcpTransport.connect`. Every callback comes from the reader thread, except the outcome of a fetch that
    cannot even be sent, which comes from within `fetch`, and of what comes by RDMA, which a landing thread tells."""

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
        rails: NodeRails | None,
        clock: Callable[[], float],
    ) -> None:
        self._sock = sock
        self._reader = reader
        self._parent = parent
        self._on_have = on_have
        self._on_closed = on_closed
        self._stall = stall
        self._clock = clock
        incoming = TlsIncoming if isinstance(sock, TlsSocket) else Incoming
        self._incoming = incoming(
            sock, tick=stall / 8, hash_below=hash_below, clock=clock, on_silence=self._nothing_came
        )
        self._pinged_at = 0.0
        self._news = NewsLimit(clock())
        self._lanes = (
            ChildLanes(rails, parent, post=self._tell_parent, on_closed=self._lane_closed, clock=clock)
            if rails
            else None
        )
        self._detours = rails.detours if rails else Detours()
        # shared between the reader thread and callers
        self._lock = threading.Lock()
        self._outbox = bytearray()
        self._fetches: dict[int, _Fetch] = {}
        self._subscriptions: dict[Digest, _Subscription] = {}
        self._shard_of: dict[int, Digest] = {}
        self._last_number = 0
        self._ended: str | None = None
        self._closed_here = False
        self._given_up: set[int] = set()  # requests over lanes that failed: what still comes of them is not wanted
        self._lane_ended = threading.Condition(self._lock)
        self._thread = threading.Thread(target=self._run, name=f"fetch {parent}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def thread(self) -> int | None:
        return self._thread.ident

    @property
    def lanes(self) -> int:
        """RDMA lanes to this parent that can be used now."""
        return self._lanes.open if self._lanes is not None else 0

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
        where = Range(into.fd, into.offset, length, into.hash)
        self._ask(_Fetch(shard, start, where, on_outcome, self._clock(), length))

    def _ask(self, fetch: _Fetch) -> None:
        """Over a lane, if there is one and it did not fail there."""
        lane = -1
        if self._lanes is not None and not fetch.detour:
            with self._lock:
                pointless = self._pointless(fetch)  # what is does not wait for lanes
            if pointless is None:
                choice = self._lanes.choose(fetch.length, lambda: self._ask(fetch))
                if choice is None:
                    return
                lane, fetch.detour = choice
        if fetch.detour:
            self._detours.add(fetch.detour)
        outcome = self._request(fetch, lane)
        if outcome is not None:
            if lane >= 0 and self._lanes is not None:
                self._lanes.unused(lane, fetch.length)
            fetch.on_outcome(outcome)

    def _request(self, fetch: _Fetch, lane: int) -> base.Outcome | None:
        """Ask for it; an outcome when that is pointless."""
        with self._lock:
            if (pointless := self._pointless(fetch)) is not None:
                return pointless
            subscription = self._subscriptions[fetch.shard]
            number = self._next_number()
            where = fetch.range
            if lane >= 0:
                fetch.over_lane = LaneFetch(
                    where.fd, where.offset, where.length, where.hash, self._lane_fetch_ended, lane, number
                )
            self._fetches[number] = fetch
            start = fetch.start + fetch.length - where.length
            self._post(frames.Request(number, subscription.number, start, where.length, lane))
        return None

    def _pointless(self, fetch: _Fetch) -> base.Outcome | None:
        """What comes of a request without making it. Holds the lock."""
        if self._ended is not None or self._closed_here:
            return base.Lost(self._ended or "The connection was closed.")
        subscription = self._subscriptions.get(fetch.shard)
        if subscription is None:
            return base.Refused("Not subscribed to this shard.")
        return base.Refused(subscription.refusal) if subscription.refusal else None

    def close(self) -> None:
        """Returns at once; what is outstanding ends as Lost, from the reader thread."""
        with self._lock:
            if self._ended is None and not self._closed_here:
                self._closed_here = True
                self._post(frames.Goodbye("The child is done."))
                self._hang_up()

    def hang_up(self) -> None:
        """End it from this side as if the parent had."""
        with self._lock:
            if self._ended is None:
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
                if self._lanes is not None:
                    self._lanes.lose_patience()
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
        if self._lanes is not None:
            self._lanes.lose_patience()
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
                if not self._news.takes(len(self._subscriptions), self._clock()):
                    raise _ConnectionEnded(f"The parent at {self._parent} floods its children with news.")
                self._tell(number, event.pieces)
            case frames.SubscribeRefused(subscription=number, reason=reason):
                self._subscribe_refused(number, reason)
            case frames.Busy(request=request, retry_after_ms=wait):
                self._settle(request, base.Busy(wait / 1000))
            case frames.Refused(request=request, reason=reason):
                self._settle(request, base.Refused(reason))
            case frames.Pong():
                pass
            case frames.LanesOpened() if self._lanes is not None:
                self._lanes.opened(event)
            case frames.Exposed() if self._lanes is not None:
                self._exposed(event, self._lanes)
            case frames.LaneClosed() if self._lanes is not None:
                self._lanes.closed(event)
            case frames.Goodbye(reason=reason):
                raise _ConnectionEnded(f"The parent at {self._parent} ended the connection: {reason}")
            case _:
                raise frames.ProtocolError(f"A parent does not send {type(event).__name__} here.")

    def _take_body(self, body: frames.Body) -> None:
        with self._lock:
            fetch = self._fetches.get(body.request)
            if fetch is None and body.request not in self._given_up:
                raise frames.ProtocolError(f"The parent sent a range nobody asked for (request {body.request}).")
        if fetch is None or not self._comes_here(fetch):
            self._incoming.take_block(Range(-1, 0, body.length, None, failed=OSError()), body.length)
            self._reader.body_moved(body.length)
            return
        mine = fetch.range
        if mine.done + body.length > mine.length or body.last != (mine.done + body.length == mine.length):
            raise frames.ProtocolError(f"The parent sent more or less than the {mine.length} bytes asked for.")
        self._incoming.take_block(mine, body.length)
        self._reader.body_moved(body.length)
        if body.last and mine.failed is not None:
            self._settle(body.request, base.NotWritten(mine.failed))
        elif body.last:
            seconds = self._incoming.heard_at - fetch.sent_at
            hashed = mine.hash is not None
            self._settle(body.request, base.Received(fetch.length, seconds, hashed, "tcp", fetch.detour))

    def _settle(self, request: int, outcome: base.Outcome) -> None:
        with self._lock:
            fetch = self._fetches.get(request)
            if fetch is None and request in self._given_up:
                return
        if fetch is None:
            raise frames.ProtocolError(f"The parent answered a request that was never made ({request}).")
        if fetch.over_lane is not None and self._lanes is not None and not self._lanes.declined(fetch.over_lane):
            return
        with self._lock:
            del self._fetches[request]
        _call(lambda: fetch.on_outcome(outcome))

    # --- lanes ---

    def _exposed(self, frame: frames.Exposed, lanes: ChildLanes) -> None:
        with self._lock:
            fetch = self._fetches.get(frame.request)
            given_up = frame.request in self._given_up
        if fetch is not None and fetch.over_lane is not None:
            lanes.read(frame, fetch.over_lane)
        elif not given_up:
            raise frames.ProtocolError("The parent exposed a range nobody asked for.")

    def _comes_here(self, fetch: _Fetch) -> bool:
        """Whether what the parent sends is wanted: not of a request over a lane that was given up at this moment."""
        if fetch.over_lane is None or self._lanes is None:
            return True
        if not self._lanes.declined(fetch.over_lane):
            return False
        fetch.over_lane = None
        fetch.detour = NO_MEMORY
        self._detours.add(fetch.detour)
        return True

    def _tell_parent(self, frame: frames.Control) -> None:
        with self._lock:
            self._post(frame)

    def _lane_closed(self, lane: int, reason: str) -> None:
        with self._lock:
            there = [fetch.over_lane for fetch in self._fetches.values() if fetch.over_lane]
        for over_lane in there:
            if over_lane.lane == lane and self._lanes is not None:
                self._lanes.give_up(over_lane, reason)

    def _lane_fetch_ended(self, over_lane: LaneFetch, failure: str) -> None:
        """From whichever thread touched its file last."""
        with self._lock:
            fetch = self._fetches.pop(over_lane.request)
            if failure:
                self._given_up.add(over_lane.request)
        try:
            if over_lane.failed is not None:
                fetch.on_outcome(base.NotWritten(over_lane.failed))
            elif failure:
                self._ask_for_the_rest(fetch, over_lane, failure)
            else:
                seconds = self._clock() - fetch.sent_at
                fetch.on_outcome(base.Received(fetch.length, seconds, over_lane.hash is not None, "rdma"))
        except Exception:
            log.exception("a transfer callback failed")
        finally:
            with self._lock:
                self._lane_ended.notify_all()

    def _ask_for_the_rest(self, fetch: _Fetch, over_lane: LaneFetch, reason: str) -> None:
        """Over the connection. The hash has seen what landed, and goes on with what comes."""
        done = over_lane.done
        fetch.range = Range(over_lane.fd, over_lane.offset + done, over_lane.length - done, over_lane.hash)
        fetch.over_lane, fetch.detour = None, reason
        self._ask(fetch)

    def _tell(self, number: int, pieces: PieceSet) -> None:
        if self._lanes is not None:
            self._lanes.prepare()
        with self._lock:
            shard = self._shard_of.get(number)
        if shard is not None:  # else it was unsubscribed meanwhile
            _call(lambda: self._on_have(shard, pieces))

    def _subscribe_refused(self, number: int, reason: str) -> None:
        if self._lanes is not None:
            self._lanes.refused()
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
            fetches = [fetch for fetch in self._fetches.values() if fetch.over_lane is None]
            self._fetches = {number: fetch for number, fetch in self._fetches.items() if fetch.over_lane is not None}
            self._sock.close()
        self._incoming.close()
        if self._lanes is not None:
            self._end_lanes(self._lanes, reason)
        for fetch in fetches:
            _call(lambda fetch=fetch: fetch.on_outcome(base.Lost(reason)))  # type: ignore[misc]
        if not self._closed_here:
            _call(lambda: self._on_closed(reason))

    def _end_lanes(self, lanes: ChildLanes, reason: str) -> None:
        """Return when nothing comes over them any more and every fetch has its outcome."""
        lanes.close()
        with self._lock:
            there = [fetch.over_lane for fetch in self._fetches.values() if fetch.over_lane]
        for over_lane in there:
            lanes.give_up(over_lane, reason)
        with self._lock:
            self._lane_ended.wait_for(lambda: not self._fetches)


def _call(callback: Callable[[], None]) -> None:
    """A caller's mistake must not take the reader thread with it: the other fetches would never end."""
    try:
        callback()
    except Exception:
        log.exception("a transfer callback failed")
