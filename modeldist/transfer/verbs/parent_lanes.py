"""The parent's ends of one child's lanes: what is exposed on them, for how long.

A part of a shard is copied into a slot, or lies in memory that was registered where it is; it is exposed to this child
alone until the child says that it has the bytes, or the parent's patience ends. A key never outlives its place's use.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from modeldist.transfer import frames
from modeldist.transfer.verbs.detours import NO_DEVICE
from modeldist.transfer.verbs.lane_ends import from_the_wire, on_the_wire, rail_towards
from modeldist.transfer.verbs.rails import NodeRails, OpenRail
from modeldist.transfer.verbs.shard_pages import NotInPlace, PagesPart
from rdma import RdmaError
from rdma.interface import Exposure, QueuePair
from rdma.pool import Slot

_SHARE = 2  # a child may hold this many times what is left for others: alone two thirds, and never all while it sleeps
PATIENCE = 20.0  # seconds that a part stays exposed: a child that reads needs milliseconds

Place: TypeAlias = Slot | PagesPart
"""Where a part of a shard is exposed: its holder's until it is released."""


@dataclass
class _Part:
    request: int
    place: Place
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
            return frames.LanesOpened([None] * len(wanted.ends), NO_DEVICE)
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

    def place(self, lane: int, fd: int, start: int, length: int) -> Place | None:
        """For the shard's bytes from `start`, `length` of them or fewer; None while there is none, or
        this child holds its share. The lane is open."""
        rail = self._lanes[lane].rail
        held = sum(len(lane.parts) for lane in self._lanes.values() if lane.rail is rail)
        if rail.pages is not None and held < _SHARE * rail.pages.free:
            with contextlib.suppress(NotInPlace):
                return rail.pages.take(fd, start, length)
        return rail.serving.take() if held < _SHARE * rail.serving.free else None

    def is_open(self, lane: int) -> bool:
        return lane in self._lanes

    def expose(
        self, lane: int, request: frames.Request, done: int, place: Place, fd: int, length: int
    ) -> frames.Exposed | frames.LaneClosed:
        """Expose bytes [done, done + length) of the request's range, for which the place was taken; a slot is filled
        with them first. Raises OSError when the shard cannot be read; the place is given back then."""
        here = self._lanes[lane]
        try:
            if isinstance(place, Slot):
                _fill(place.view[:length], fd, request.start + done)
            exposure = here.pair.expose(place.memory, place.offset, length)
        except RdmaError as error:
            place.release()
            return self._close_lane(lane, str(error))
        except BaseException:
            place.release()
            raise
        here.parts.append(_Part(request.request, place, exposure, self._clock() + PATIENCE))
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
        lane.pair.close()  # before its places are others'
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
    part.place.release()


def _fill(view: memoryview, fd: int, offset: int) -> None:
    done = 0
    while done < len(view):
        count = os.preadv(fd, [view[done:]], offset + done)
        if not count:
            raise OSError(f"the shard ended at byte {offset + done}")
        done += count
