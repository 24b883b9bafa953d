"""The origin leases this node holds: which are read now, which wait for a stream or for the lease before them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from modeldist.artifact import Digest
from modeldist.scheduler.phase2.messages import LeaseArrived


@dataclass(slots=True)
class HeldLease:
    arrived: LeaseArrived
    small: bool
    reading: bool = False

    @property
    def bits(self) -> int:
        return ((1 << self.arrived.count) - 1) << self.arrived.start


class Reading:
    """At most `streams` leases are read at a time, and as many of small shards beside them, which cost round trips and
    interpreter time where the others cost bytes. A lease that follows another waits for that one's end."""

    def __init__(self, streams: int) -> None:
        self._streams = streams
        self._held: dict[tuple[Digest, int], HeldLease] = {}
        self._live: set[int] = set()
        self._reading = {False: 0, True: 0}  # by whether the shards are small

    def add(self, arrived: LeaseArrived, *, small: bool) -> bool:
        """False when it is known already."""
        key = (arrived.task, arrived.lease)
        if key in self._held:
            return False
        self._held[key] = HeldLease(arrived, small)
        self._live.add(arrived.lease)
        return True

    def remove(self, task: Digest, lease: int) -> HeldLease | None:
        held = self._held.pop((task, lease), None)
        if held is not None:
            self._live.discard(lease)
            self._reading[held.small] -= held.reading
        return held

    def start(self) -> Iterator[LeaseArrived]:
        """Leases to begin reading now, oldest first."""
        if min(self._reading.values()) >= self._streams:
            return
        for held in self._held.values():
            free = self._reading[held.small] < self._streams
            if free and not held.reading and held.arrived.after not in self._live:
                held.reading = True
                self._reading[held.small] += 1
                yield held.arrived

    def bits_of(self, task: Digest) -> int:
        bits = 0
        for held in self._held.values():
            if held.arrived.task == task:
                bits |= held.bits
        return bits

    def of(self, task: Digest) -> list[LeaseArrived]:
        return [held.arrived for held in self._held.values() if held.arrived.task == task]
