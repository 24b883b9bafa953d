"""The origin leases this node holds: which are read now, which wait for a stream or for the lease before them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from modeldist.artifact import Digest
from modeldist.scheduler.phase2.messages import LeaseArrived


@dataclass(slots=True)
class HeldLease:
    arrived: LeaseArrived
    reading: bool = False

    @property
    def bits(self) -> int:
        return ((1 << self.arrived.count) - 1) << self.arrived.start


class Reading:
    """At most `streams` leases are read at a time. A lease that follows another waits for that one's end."""

    def __init__(self, streams: int) -> None:
        self._streams = streams
        self._held: dict[tuple[Digest, int], HeldLease] = {}
        self._live: set[int] = set()
        self._reading = 0

    def add(self, arrived: LeaseArrived) -> bool:
        """False when it is known already."""
        key = (arrived.task, arrived.lease)
        if key in self._held:
            return False
        self._held[key] = HeldLease(arrived)
        self._live.add(arrived.lease)
        return True

    def remove(self, task: Digest, lease: int) -> HeldLease | None:
        held = self._held.pop((task, lease), None)
        if held is not None:
            self._live.discard(lease)
            self._reading -= held.reading
        return held

    def start(self) -> Iterator[LeaseArrived]:
        """Leases to begin reading now, oldest first."""
        if self._reading >= self._streams:
            return
        for held in self._held.values():
            if not held.reading and held.arrived.after not in self._live:
                held.reading = True
                self._reading += 1
                yield held.arrived
                if self._reading >= self._streams:
                    return

    def bits_of(self, task: Digest) -> int:
        bits = 0
        for held in self._held.values():
            if held.arrived.task == task:
                bits |= held.bits
        return bits

    def of(self, task: Digest) -> list[LeaseArrived]:
        return [held.arrived for held in self._held.values() if held.arrived.task == task]
