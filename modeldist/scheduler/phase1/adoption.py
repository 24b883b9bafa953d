"""Leases that a node goes on reading over a broken session or a restart of the control plane: kept, taken over, or
taken back where somebody else was granted the same pieces meanwhile."""

from __future__ import annotations

from collections.abc import Iterable

from modeldist.scheduler.messages import HeldLease, LeaseRevoked
from modeldist.scheduler.phase1.asking import Asking
from modeldist.scheduler.phase1.lease_book import LeaseBook, bytes_of, span
from modeldist.scheduler.phase1.swarm import Member, Swarm


class Adoption:
    """Puts a member's leases on one task in step with those it says it holds, in its first join of a session."""

    def __init__(self, asking: Asking, book: LeaseBook) -> None:
        self._asking = asking
        self._book = book

    def settle(self, swarm: Swarm, member: Member, told: Iterable[HeldLease], now: float) -> list[LeaseRevoked]:
        """`member.have` is up to date. Leases that it does not name are over. Returns those it has to stop reading."""
        held = {lease.lease: lease for lease in told}
        mine = [lease for lease in self._book.of_node(member.node).values() if lease.task == swarm.task]
        for lease in mine:
            if lease.id not in held:
                self._book.end(lease, now)
        kept = {lease.id for lease in mine}
        return [
            LeaseRevoked(swarm.task, lease.lease)
            for lease in held.values()
            if lease.lease not in kept and not self._take_over(swarm, member, lease, now)
        ]

    def _take_over(self, swarm: Swarm, member: Member, told: HeldLease, now: float) -> bool:
        if told.lease <= 0 or told.start < 0 or told.count <= 0 or told.start + told.count > swarm.layout.count:
            return False
        unread = span(told.start, told.count) & ~member.have
        if not unread:
            return True  # it ends by itself
        spoken_for = swarm.leased | swarm.held & swarm.known
        if unread & spoken_for or not swarm.may_read(member.node, now) or self._book.get(told.lease) is not None:
            return False
        lease = self._book.take_over(swarm, member.node, told.lease, told.start, told.count, unread, now)
        budget = self._asking.origin(swarm.origin)
        budget.allowance(now)  # brings the bucket up to date; what is being read already may leave a debt in it
        budget.spend(bytes_of(swarm, unread))
        before = self._book.of_node(member.node).get(told.after)
        if before is not None and not before.next:
            before.next, lease.after = lease.id, before.id
        else:
            self._book.activate(lease, now)
        return True
