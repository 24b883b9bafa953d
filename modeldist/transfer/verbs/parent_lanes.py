"""The parent's ends of one child's lanes: what is exposed on them, for how long.

A part of a shard is copied into a slot, the slot is exposed to this child alone, and both end when the child says that
it has the bytes, or when the parent's patience does. A key never outlives its slot's use.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from modeldist.transfer import frames
from modeldist.transfer.verbs.lane_ends import from_the_wire, on_the_wire, rail_towards
from modeldist.transfer.verbs.rails import NodeRails, OpenRail
from rdma import RdmaError
from rdma.interface import Exposure, QueuePair
from rdma.pool import Slot

PATIENCE = 20.0  # seconds that a part stays exposed: a child that reads needs milliseconds


@dataclass
class _Part:
    request: int
    slot: Slot
    exposure: Exposure
    until: float


@dataclass
class _Lane:
    pair: QueuePair
    rail: OpenRail
    parts: deque[_Part] = field(default_factory=deque)


class ParentLanes:
    """For the thread that serves the child, and for `close` after it. `clock` in seconds."""

    def __init__(self, rails: NodeRails | None, clock: Callable[[], float]) -> None:
        self._rails = rails
        self._clock = clock
        self._lanes: dict[int, _Lane] = {}

    def open(self, wanted: frames.LanesWanted) -> frames.LanesOpened:
        """Lanes that were open before are closed: a child asks again when it has given them up.
        Raises ProtocolError."""
        self.close()
        rails = self._rails.rails if self._rails else ()
        if not rails:
            return frames.LanesOpened([None] * len(wanted.ends), "The parent has no RDMA device that works.")
        ends: list[frames.LaneEnd | None] = []
        reason = ""
        for number, end in enumerate(wanted.ends):
            try:
                self._lanes[number] = lane = _connect(end, rail_towards(rails, end.gid))
                ends.append(on_the_wire(lane.pair.endpoint))
            except ValueError as error:
                raise frames.ProtocolError(f"A child asked for a lane that cannot be: {error}.") from None
            except RdmaError as error:
                ends.append(None)
                reason = frames.brief(str(error))
        return frames.LanesOpened(ends, reason)

    def slot(self, lane: int) -> Slot | None:
        """A free one; None while there is none. The lane is open."""
        return self._lanes[lane].rail.serving.take()

    def is_open(self, lane: int) -> bool:
        return lane in self._lanes

    def expose(
        self, lane: int, request: frames.Request, done: int, slot: Slot, fd: int, length: int
    ) -> frames.Exposed | frames.LaneClosed:
        """Read bytes [done, done + length) of the request's range into the slot and expose them. Raises OSError when
        the shard cannot be read; the slot is given back then."""
        here = self._lanes[lane]
        try:
            _fill(slot.view[:length], fd, request.start + done)
        except BaseException:
            slot.release()
            raise
        try:
            exposure = here.pair.expose(slot.memory, slot.offset, length)
        except RdmaError as error:
            slot.release()
            return self._close_lane(lane, str(error))
        here.parts.append(_Part(request.request, slot, exposure, self._clock() + PATIENCE))
        remote = exposure.remote
        return frames.Exposed(request.request, done, remote.address, remote.length, remote.key)

    def landed(self, frame: frames.Landed) -> None:
        """What the child has is exposed no longer."""
        for lane in self._lanes.values():
            for part in lane.parts:
                if part.request == frame.request:
                    lane.parts.remove(part)
                    _conceal(part)
                    return

    @property
    def next_deadline(self) -> float | None:
        """When patience with a part ends."""
        return min((lane.parts[0].until for lane in self._lanes.values() if lane.parts), default=None)

    def overdue(self) -> list[frames.LaneClosed]:
        """Close lanes on which parts were exposed for too long."""
        now = self._clock()
        late = [number for number, lane in self._lanes.items() if lane.parts and lane.parts[0].until <= now]
        return [self._close_lane(number, f"Nothing was read for {PATIENCE:g} s.") for number in late]

    def drop(self, frame: frames.LaneClosed) -> None:
        """The child has given a lane up."""
        if frame.lane in self._lanes:
            self._close_lane(frame.lane, frame.reason)

    def _close_lane(self, number: int, reason: str) -> frames.LaneClosed:
        lane = self._lanes.pop(number)
        lane.pair.close()  # before its slots are others'
        for part in lane.parts:
            _conceal(part)
        return frames.LaneClosed(number, frames.brief(reason))

    def close(self) -> None:
        for number in list(self._lanes):
            self._close_lane(number, "")


def _connect(end: frames.LaneEnd, rail: OpenRail) -> _Lane:
    other = from_the_wire(end)
    pair = rail.device.queue_pair()
    try:
        pair.connect(other)
    except BaseException:
        pair.close()
        raise
    return _Lane(pair, rail)


def _conceal(part: _Part) -> None:
    with contextlib.suppress(RdmaError):
        part.exposure.revoke()
    part.slot.release()


def _fill(view: memoryview, fd: int, offset: int) -> None:
    done = 0
    while done < len(view):
        count = os.preadv(fd, [view[done:]], offset + done)
        if not count:
            raise OSError(f"the shard ended at byte {offset + done}")
        done += count
