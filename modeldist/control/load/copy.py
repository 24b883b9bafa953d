"""One agent's copy of one task: which pieces it holds, may fetch, and has leased."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from modeldist.control.load.synthetic_task import SyntheticTask
from modeldist.scheduler.messages import ParentReport as Served
from modeldist.scheduler.messages import PieceDigest, TaskJoin, TaskReport
from modeldist.scheduler.pieces import PieceSet, random_member

_PARENTS_USED = 6  # of those in the list, in one report interval


@dataclass(slots=True)
class ReadLease:
    """Pieces [start, start + count); `read` of them so far."""

    start: int
    count: int
    read: int = 0


@dataclass(slots=True)
class Copy:
    """Bitmaps as integers. `known`: pieces whose digest the control plane told, so that they may come from peers.
    `joined`: whether it knows us in this task."""

    task: SyntheticTask
    have: int = 0
    known: int = 0
    joined: bool = False
    changed: bool = False
    verified: list[PieceDigest] = field(default_factory=list)
    leases: dict[int, ReadLease] = field(default_factory=dict)
    parents: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        return self.have == self.task.all

    @property
    def missing(self) -> int:
        return self.task.all & ~self.have

    def introduction(self) -> TaskJoin:
        """As an agent introduces what it fetches, or offers what it holds complete."""
        task = self.task
        return TaskJoin(
            task.digest,
            task.size,
            "" if self.complete else task.origin,
            PieceSet(self.have).to_bytes(),
            task.digests(self.have),
            piece_size=task.layout.piece_size if self.have else 0,
            seed_only=self.complete,
        )

    def fetch(self, pieces: int, rng: random.Random) -> None:
        """Up to `pieces` more come from peers."""
        for _ in range(pieces):
            wanted = self.known & self.missing
            if not wanted:
                return
            self._add(random_member(wanted, rng))

    def read(self, lease_id: int, pieces: int) -> None:
        """Up to `pieces` more of a lease come from the origin and are verified."""
        lease = self.leases[lease_id]
        for piece in range(lease.start + lease.read, lease.start + min(lease.count, lease.read + pieces)):
            lease.read += 1
            if not self.have >> piece & 1:
                self._add(piece)
                self.verified.extend(self.task.digests(1 << piece))
        if lease.read == lease.count:
            del self.leases[lease_id]

    def _add(self, piece: int) -> None:
        self.have |= 1 << piece
        self.changed = True

    def report(self, interval: float, rng: random.Random) -> TaskReport | None:
        """What changed since the last one; None when nothing did."""
        if not (self.changed or self.leases):
            return None
        piece_size = self.task.layout.piece_size
        report = TaskReport(
            self.task.digest,
            have=PieceSet(self.have).to_bytes() if self.changed else None,
            verified=tuple(self.verified),
            lease_bytes={number: lease.read * piece_size for number, lease in self.leases.items() if lease.read},
            parents=self._served(interval, rng),
        )
        self.changed = False
        self.verified.clear()
        return report

    def _served(self, interval: float, rng: random.Random) -> tuple[Served, ...]:
        """How parents served, about evenly, one of them now and then busy."""
        if not self.changed or not self.parents:
            return ()
        used = rng.sample(self.parents, min(_PARENTS_USED, len(self.parents)))
        size = self.task.layout.piece_size
        return tuple(
            Served(node, size * rng.randint(1, 8), interval * rng.uniform(0.3, 1.0), busy=int(rng.random() < 0.1))
            for node in used
        )
