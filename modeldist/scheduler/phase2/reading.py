"""The origin leases this node holds: which are read now, which wait for a stream or for the lease before them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

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
    """At most `streams` leases are read at a time, and `small` (as many) of small shards beside them, which cost round
    trips and interpreter time where the others cost bytes. A lease that follows another waits for that one's end. While
    all streams are taken, one lease more is read, of a task that `reads` and of which none is: the others may hang."""

    def __init__(self, streams: int, small: int | None = None) -> None:
        self._most = {False: streams, True: small or streams}
        self._held: dict[Digest, dict[int, HeldLease]] = {}
        self._live: set[int] = set()
        # By whether the shards are small: leases that wait, oldest first, and how many are read.
        self._waiting: dict[bool, dict[int, HeldLease]] = {False: {}, True: {}}
        self._reading = {False: 0, True: 0}

    def add(self, arrived: LeaseArrived, *, small: bool) -> bool:
        """False when it is known already."""
        of_task = self._held.setdefault(arrived.task, {})
        if arrived.lease in of_task:
            return False
        of_task[arrived.lease] = self._waiting[small][arrived.lease] = HeldLease(arrived, small)
        self._live.add(arrived.lease)
        return True

    def remove(self, task: Digest, lease: int) -> HeldLease | None:
        held = self._held.get(task, {}).pop(lease, None)
        if held is not None:
            if not self._held[task]:
                del self._held[task]
            self._live.discard(lease)
            self._waiting[held.small].pop(lease, None)
            self._reading[held.small] -= held.reading
        return held

    def start(self, awaited: Callable[[LeaseArrived], bool], reads: Callable[[Digest], bool]) -> Iterator[LeaseArrived]:
        """Leases to begin reading now: of what is `awaited` first, else oldest first. `reads`: tasks that somebody
        reads while they come."""
        for small, waiting in self._waiting.items():
            free = self._most[small] - self._reading[small]
            if free < 0 or not waiting:
                continue
            ready = [lease for lease, held in waiting.items() if held.arrived.after not in self._live]
            if not free:
                ready = [lease for lease in ready if self._starves(waiting[lease].arrived.task, reads)]
                free = 1
            if len(ready) > free:
                ready.sort(key=lambda lease, waiting=waiting: not awaited(waiting[lease].arrived))  # type: ignore[misc]
            for lease in list(islice(ready, free)):
                held = waiting.pop(lease)
                held.reading = True
                self._reading[small] += 1
                yield held.arrived

    def _starves(self, task: Digest, reads: Callable[[Digest], bool]) -> bool:
        return reads(task) and not any(held.reading for held in self._held[task].values())

    def unbegun(self) -> list[LeaseArrived]:
        """Those that wait."""
        return [held.arrived for waiting in self._waiting.values() for held in waiting.values()]

    def bits_of(self, task: Digest) -> int:
        bits = 0
        for held in self._held.get(task, {}).values():
            bits |= held.bits
        return bits

    def of(self, task: Digest) -> list[LeaseArrived]:
        return [held.arrived for held in self._held.get(task, {}).values()]
