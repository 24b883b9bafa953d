"""The child's ends of its lanes to one parent, and what is read over them.

A part that the parent exposes is read into a slot by the device, hashed and written by a landing thread. Whatever fails
on a lane closes it; what was still to come over it comes over the connection.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from modeldist.transfer import frames
from modeldist.transfer.verbs.detours import NO_ANSWER
from modeldist.transfer.verbs.lane_ends import from_the_wire, on_the_wire
from modeldist.transfer.verbs.lane_fetch import LaneFetch
from modeldist.transfer.verbs.lane_policy import LanePolicy
from modeldist.transfer.verbs.rails import NodeRails, OpenRail
from rdma import RdmaError
from rdma.interface import QueuePair, RemoteRange
from rdma.pool import Slot

_PATIENCE = 10.0  # seconds for answers that take two round trips and two queue pairs

log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Lane:
    number: int
    pair: QueuePair
    rail: OpenRail
    in_flight: int = 0  # bytes asked for
    open: bool = False
    closed: bool = False


class ChildLanes:
    """`post` sends a frame to the parent; `on_closed` is told of a lane that ended, and why: what was asked for over it
    has to be given up; `clock` in seconds. Any thread; callbacks come without the lock."""

    def __init__(
        self,
        rails: NodeRails,
        parent: str,
        *,
        post: Callable[[frames.Control], None],
        on_closed: Callable[[int, str], None],
        clock: Callable[[], float],
    ) -> None:
        self._rails = rails
        self._parent = parent
        self._post = post
        self._on_closed = on_closed
        self._clock = clock
        self._lock = threading.Lock()
        self._policy = LanePolicy()
        self._lanes: list[_Lane] = []
        self._problem = ""  # why there is none, after one failed
        self._accepted = False
        self._awaiting_first = bool(rails.rails)  # the parent's answers to a subscription and to the question
        self._parked: list[Callable[[], None]] = []
        self._parked_since = 0.0
        self._asked = False  # and not answered
        self._over = False

    # --- asking ---

    def choose(self, length: int, later: Callable[[], None]) -> tuple[int, str] | None:
        """The lane for a request of `length` bytes: the one with the least on its way. (-1, why) for none; then lanes
        are asked for if it is time. None while the parent's first answers are awaited, which is a matter of two round
        trips: `later` is called once when they have come."""
        with self._lock:
            usable = [lane for lane in self._lanes if lane.open]
            if usable:
                lane = min(usable, key=lambda lane: lane.in_flight)
                lane.in_flight += length
                return lane.number, ""
            if self._awaiting_first:
                if not self._parked:
                    self._parked_since = self._clock()
                self._parked.append(later)
                return None
            problem, accepted = self._problem, self._accepted
        if accepted:
            self.prepare()
        return -1, problem

    def _answered(self) -> None:
        """Lanes are open, or will not be."""
        with self._lock:
            self._awaiting_first = False
            parked, self._parked = self._parked, []
        for later in parked:
            _logged(later)

    def prepare(self) -> None:
        """Ask for lanes if it is time. The parent has accepted a subscription: nobody else may ask."""
        with self._lock:
            first = not self._accepted
            self._accepted = True
            ask = not (self._over or any(lane.open for lane in self._lanes)) and bool(self._rails.rails)
            ask = ask and self._policy.ask(self._clock())
            self._awaiting_first |= ask and first
        if ask:
            self._run(self._ask)
        elif first:
            self._answered()

    def refused(self) -> None:
        """The parent has refused a subscription: what waits for the answer to the first is not kept any longer."""
        if not self._accepted:
            self._answered()

    def lose_patience(self) -> None:
        """To be called now and then: what waits for an answer for too long is not kept any longer. An answer that comes
        later is as good."""
        if self._parked and self._clock() - self._parked_since > _PATIENCE:
            with self._lock:
                self._problem = self._problem or NO_ANSWER.format(seconds=_PATIENCE)
            self._answered()

    @property
    def open(self) -> int:
        """Lanes that can be used now."""
        return sum(lane.open for lane in self._lanes)

    def unused(self, lane: int, length: int) -> None:
        """A request that a lane was chosen for was not made."""
        with self._lock:
            if found := self._lane(lane):
                found.in_flight -= length

    def declined(self, fetch: LaneFetch) -> bool:
        """The parent answers a request otherwise than over its lane. False when it has been given up here meanwhile,
        and the answer is not wanted. Raises ProtocolError when part of it was exposed."""
        with self._lock:
            if fetch.ended or fetch.failure:
                return False
            if fetch.promised:
                raise frames.ProtocolError("The parent exposed a range and then answered otherwise.")
            fetch.ended = True
            if lane := self._lane(fetch.lane):
                lane.in_flight -= fetch.length
            return True

    def _run(self, work: Callable[[], None]) -> None:
        try:
            self._rails.landing.submit(self._or_none, work)
        except RuntimeError:  # the node is closing
            self._answered()

    def _or_none(self, work: Callable[[], None]) -> None:
        """What waits for lanes does not wait for what failed in a way nobody thought of."""
        try:
            work()
        except Exception:
            log.exception("RDMA to %s failed", self._parent)
            self._answered()

    def _ask(self) -> None:
        """Make this side's ends and tell the parent."""
        lanes: list[_Lane] = []
        problem = "no device works"
        for rail in self._rails.rails[: frames.MAX_LANES]:
            try:
                lanes.append(_Lane(len(lanes), rail.device.queue_pair(), rail))
            except RdmaError as error:
                problem = str(error)
        with self._lock:
            over = self._over
            if lanes and not over:
                self._lanes = lanes
                self._asked = True
        if over:
            _close_all(lanes)
        elif lanes:
            self._post(frames.LanesWanted([on_the_wire(lane.pair.endpoint) for lane in lanes]))
        else:
            self._none_opened(problem)

    def opened(self, frame: frames.LanesOpened) -> None:
        """From the reader thread. Raises ProtocolError when nobody asked for so many."""
        with self._lock:
            lanes = self._lanes
            if not self._asked or len(frame.ends) != len(lanes):
                raise frames.ProtocolError("The parent opened lanes that nobody asked for.")
            self._asked = False
        self._run(lambda: self._connect(lanes, frame))

    def _connect(self, lanes: list[_Lane], frame: frames.LanesOpened) -> None:
        problem = frame.reason or "the parent opened no lane"
        good = []
        for lane, end in zip(lanes, frame.ends, strict=True):
            try:
                if end is not None:
                    if not end.reads:  # reads would wait for ever
                        raise ValueError("The parent's device answers no reads.")
                    lane.pair.connect(from_the_wire(end))
                    good.append(lane)
                    continue
            except (RdmaError, ValueError) as error:
                problem = str(error)
            lane.pair.close()
        with self._lock:
            over = self._over
            for lane in good:
                lane.open = not lane.closed and not over
            any_open = any(lane.open for lane in good)
            if any_open:
                self._policy.opened()
                self._problem = ""
        if over:
            _close_all(good)
        elif not any_open:
            self._none_opened(problem)
        self._answered()

    def _none_opened(self, problem: str) -> None:
        with self._lock:
            self._lanes = []
            self._policy.failed(self._clock())
            self._problem = problem
        log.info("no RDMA to %s: %s", self._parent, problem)
        self._answered()

    # --- reading ---

    def read(self, frame: frames.Exposed, fetch: LaneFetch) -> None:
        """The next part of a fetch was exposed. Raises ProtocolError when it is not the next, or too long."""
        if frame.done != fetch.promised or frame.done + frame.length > fetch.length:
            raise frames.ProtocolError("The parent exposed another part than the next.")
        try:
            remote = RemoteRange(frame.address, frame.length, frame.key)
        except ValueError as error:
            raise frames.ProtocolError(f"The parent exposed what cannot be: {error}.") from None
        with self._lock:
            lane = self._lane(fetch.lane)
            if lane is not None and frame.length > lane.rail.receiving.slot:
                raise frames.ProtocolError("The parent exposed more at once than it may.")
            fetch.promised += frame.length
            fetch.parts += 1
        if lane is None:
            self._part_failed(fetch, "The lane was closed.")
        else:
            lane.rail.receiving.when_free(lambda slot: self._read_into(slot, lane, remote, fetch))

    def _lane(self, number: int) -> _Lane | None:
        """With the lock."""
        return next((lane for lane in self._lanes if lane.number == number and not lane.closed), None)

    def _read_into(self, slot: Slot, lane: _Lane, remote: RemoteRange, fetch: LaneFetch) -> None:
        def on_read(failure: RdmaError | None) -> None:
            if failure is None:
                self._part_read(slot, remote.length, fetch)
            else:
                slot.release()
                self._fail(lane, str(failure))
                self._part_failed(fetch, str(failure))

        lane.pair.read(remote, slot.memory, slot.offset, on_read)

    def _part_read(self, slot: Slot, length: int, fetch: LaneFetch) -> None:
        """From the device's thread: the parent may have its slot again."""
        self._post(frames.Landed(fetch.request))
        with self._lock:
            fetch.arrived.append((slot, length))
            if fetch.landing:
                return
            fetch.landing = True
        try:
            self._rails.landing.submit(_logged, lambda: self._land(fetch))
        except RuntimeError:  # the node is closing
            self._drop_arrived(fetch)

    def _land(self, fetch: LaneFetch) -> None:
        """In a landing thread: what has arrived of this fetch, in order."""
        while True:
            with self._lock:
                if not fetch.arrived:
                    fetch.landing = False
                    break
                slot, length = fetch.arrived.popleft()
            try:
                fetch.land(slot, length)
            finally:
                slot.release()
                with self._lock:
                    fetch.parts -= 1
        self._end_if_done(fetch)

    def _drop_arrived(self, fetch: LaneFetch) -> None:
        with self._lock:
            arrived = list(fetch.arrived)
            fetch.arrived.clear()
            fetch.landing = False
            fetch.parts -= len(arrived)
            fetch.failure = fetch.failure or "The node is closing."
        for slot, _ in arrived:
            slot.release()
        self._end_if_done(fetch)

    def _part_failed(self, fetch: LaneFetch, reason: str) -> None:
        with self._lock:
            fetch.parts -= 1
            fetch.failure = fetch.failure or reason
        self._end_if_done(fetch)

    def give_up(self, fetch: LaneFetch, reason: str) -> None:
        """Nothing more is to come of it; it ends when nothing touches its file."""
        with self._lock:
            fetch.failure = fetch.failure or reason
        self._end_if_done(fetch)

    def _end_if_done(self, fetch: LaneFetch) -> None:
        with self._lock:
            whole = fetch.done == fetch.length
            if fetch.ended or fetch.landing or fetch.parts or not (whole or fetch.failure):
                return
            fetch.ended = True
            lane = self._lane(fetch.lane)
            if lane is not None:
                lane.in_flight -= fetch.length
            if whole:
                self._policy.proved()
        if whole:
            self._rails.detours.landed(fetch.length)
        fetch.on_end(fetch, "" if whole else fetch.failure)

    # --- the end of a lane ---

    def closed(self, frame: frames.LaneClosed) -> None:
        """The parent has closed one. From the reader thread. Before it has answered the question for lanes, it speaks
        of one that was given up here meanwhile."""
        with self._lock:
            lane = None if self._asked else self._lane(frame.lane)
        if lane is not None:
            self._fail(lane, frame.reason or "The parent closed the lane.", tell=False)

    def _fail(self, lane: _Lane, reason: str, *, tell: bool = True) -> None:
        """Close a lane, once."""
        with self._lock:
            if lane.closed:
                return
            lane.closed, lane.open = True, False
            if not any(other.open for other in self._lanes):
                self._policy.failed(self._clock())
                self._problem = reason
        log.info("a lane to %s has ended: %s", self._parent, reason)
        if tell:
            self._post(frames.LaneClosed(lane.number, frames.brief(reason)))
        self._on_closed(lane.number, reason)
        self._run(lane.pair.close)

    def close(self) -> None:
        """The connection is over. What is being read ends soon."""
        with self._lock:
            self._over = True
            lanes, self._lanes = self._lanes, []
            for lane in lanes:
                lane.closed, lane.open = True, False
        _close_all(lanes)
        self._answered()


def _close_all(lanes: list[_Lane]) -> None:
    for lane in lanes:
        lane.pair.close()


def _logged(work: Callable[[], None]) -> None:
    try:
        work()
    except Exception:
        log.exception("RDMA to a parent failed")
