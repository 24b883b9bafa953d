"""The leases that are out: begun, read piece by piece, ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from modeldist.artifact import Digest
from modeldist.scheduler.phase1.asking import Asking
from modeldist.scheduler.phase1.nodes import Node
from modeldist.scheduler.phase1.swarm import Swarm
from modeldist.scheduler.pieces import PieceSet

_GAIN = 0.5


@dataclass(slots=True)
class Lease:
    """`unread`: bitmap of pieces not verified yet. `active`: may be read now; else it follows lease `after`.
    `progressed`: when it last moved; `spoken`: its node's `spoken` then."""

    id: int
    task: Digest
    node: str
    origin: str
    start: int
    count: int
    unread: int
    granted: float
    progressed: float
    spoken: float
    after: int = 0
    next: int = 0
    active: bool = False
    bytes: int = 0
    counted: int = 0  # bytes of verified pieces


class LeaseBook:
    """Keeps the origins' counts of streams and of bytes being read, and `Swarm.leased`, in step with the leases."""

    def __init__(self, asking: Asking, swarms: dict[Digest, Swarm], nodes: dict[str, Node], first_id: int) -> None:
        self._asking = asking
        self._swarms = swarms
        self._nodes = nodes
        self._next_id = first_id
        self._leases: dict[int, Lease] = {}
        self._by_node: dict[str, dict[int, Lease]] = {}
        self._by_origin: dict[str, dict[int, Lease]] = {}

    def all(self) -> Iterable[Lease]:
        return self._leases.values()

    def get(self, lease: int) -> Lease | None:
        return self._leases.get(lease)

    def of_task(self, task: Digest) -> list[Lease]:
        return [lease for lease in self._leases.values() if lease.task == task]

    def of_node(self, node: str) -> dict[int, Lease]:
        return self._by_node.get(node, {})

    def of_origin(self, origin: str) -> Iterable[Lease]:
        return self._by_origin.get(origin, {}).values()

    def ending(self, origin: str) -> Iterator[Lease]:
        """Those being read of which one piece is left, and that none follows."""
        for lease in self._by_origin.get(origin, {}).values():
            if lease.active and not lease.next and not lease.unread & (lease.unread - 1):
                yield lease

    def add(self, swarm: Swarm, node: str, start: int, count: int, now: float) -> Lease:
        """A new lease that may not be read yet."""
        while self._next_id in self._leases:  # taken over from an earlier life of the control plane
            self._next_id += 1
        lease = self.take_over(swarm, node, self._next_id, start, count, span(start, count), now)
        self._next_id += 1
        return lease

    def take_over(
        self, swarm: Swarm, node: str, lease_id: int, start: int, count: int, unread: int, now: float
    ) -> Lease:
        """A lease of a known number, which is not in the book. It may not be read yet."""
        spoken = self._nodes[node].spoken
        lease = Lease(lease_id, swarm.task, node, swarm.origin, start, count, unread, now, now, spoken)
        self._leases[lease.id] = lease
        self._by_node.setdefault(node, {})[lease.id] = lease
        self._by_origin.setdefault(swarm.origin, {})[lease.id] = lease
        swarm.leased |= lease.unread
        return lease

    def progressed(self, node: str, lease_id: int, total: int, now: float) -> None:
        """`total` bytes were read under a lease so far."""
        lease = self._by_node.get(node, {}).get(lease_id)
        if lease is not None and total > lease.bytes:
            lease.bytes = total
            self._moved(lease, now)

    def verified(self, swarm: Swarm, node: str, pieces: int, now: float) -> int:
        """`node` holds `pieces` (new ones). Returns those that it had leased: it read them."""
        read = 0
        if not pieces & swarm.leased:
            return 0
        for lease in list(self._by_node.get(node, {}).values()):
            done = lease.unread & pieces if lease.task == swarm.task else 0
            if not done:
                continue
            read |= done
            lease.unread &= ~done
            swarm.leased &= ~done
            self._moved(lease, now)
            self._measure(swarm, lease, done, now)
            self._asking.dirty[swarm.origin] = None
            if not lease.unread:
                self._nodes[node].lease_failures = 0
                self.end(lease, now)
        if read:
            self._asking.origin(swarm.origin).turn(node).read += read.bit_count()
        return read

    def _moved(self, lease: Lease, now: float) -> None:
        lease.progressed = now
        lease.spoken = self._nodes[lease.node].spoken

    def _measure(self, swarm: Swarm, lease: Lease, done: int, now: float) -> None:
        lease.counted += bytes_of(swarm, done)
        budget = self._asking.origin(swarm.origin)
        if lease.active:
            budget.reading -= bytes_of(swarm, done)
        if now > lease.granted:
            sample = lease.counted / (now - lease.granted)
            node = self._nodes[lease.node]
            node.lease_rate = (
                sample if node.lease_rate is None else node.lease_rate + _GAIN * (sample - node.lease_rate)
            )

    def end(self, lease: Lease, now: float) -> None:
        """Take it off the book; the lease that follows starts in its place. What it left unread can be leased again."""
        budget = self._asking.origin(lease.origin)
        swarm = self._swarms[lease.task]
        del self._leases[lease.id]
        del self._by_node[lease.node][lease.id]
        del self._by_origin[lease.origin][lease.id]
        if lease.unread:
            swarm.leased &= ~lease.unread
            self._asking.wake(swarm)
        if lease.active:
            budget.streams -= 1
            budget.reading -= bytes_of(swarm, lease.unread)
            budget.turn(lease.node).streams -= 1
        before = self._leases.get(lease.after)
        if before is not None:
            before.next = 0
        following = self._leases.get(lease.next)
        if following is not None:
            following.after = 0
            if lease.active:
                self.activate(following, now)
        self._asking.dirty[lease.origin] = None
        self._asking.uncap(lease.origin)

    def activate(self, lease: Lease, now: float) -> None:
        """It may be read: it is one of the origin's streams from now on."""
        budget = self._asking.origin(lease.origin)
        lease.active = True
        lease.granted = now
        self._moved(lease, now)
        budget.streams += 1
        budget.reading += bytes_of(self._swarms[lease.task], lease.unread)
        budget.turn(lease.node).streams += 1

    def free(self, lease: Lease, pieces: int, now: float) -> None:
        """`pieces` of it are to be leased to somebody else."""
        swarm = self._swarms[lease.task]
        lease.unread &= ~pieces
        swarm.leased &= ~pieces
        if lease.active:
            self._asking.origin(lease.origin).reading -= bytes_of(swarm, pieces)
        if not lease.unread:
            self.end(lease, now)
        self._asking.wake(swarm)


def span(start: int, count: int) -> int:
    """Bitmap of a run of pieces."""
    return ((1 << count) - 1) << start


def bytes_of(swarm: Swarm, pieces: int) -> int:
    return swarm.layout.bytes_of(PieceSet(pieces))
