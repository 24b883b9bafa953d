"""Origin leases: each piece that nobody holds is read by exactly one node.

Leases are runs of pieces from the front of the shard, short enough that all askers get their turn and that nobody is
far behind at the end. A node may hold one lease more per stream: the one that follows (`after`) starts when the first
ends, without a round trip and without another stream.
"""

from __future__ import annotations

import heapq
import statistics
from collections.abc import Iterator
from dataclasses import dataclass

from modeldist.artifact import Digest
from modeldist.scheduler.messages import LeaseGranted, LeaseRevoked
from modeldist.scheduler.phase1.budget import Asker, OriginBudget
from modeldist.scheduler.phase1.config import Phase1Config
from modeldist.scheduler.phase1.nodes import Node
from modeldist.scheduler.phase1.swarm import Member, Swarm

_GAIN = 0.5
_SERVES_WELL = 0.7
_LEAST_COMPARED = 3  # nodes; among fewer there is no telling who is slow
_WEIGHING_SECONDS = 0.5


@dataclass(slots=True)
class Lease:
    """`unread`: bitmap of pieces not verified yet. `active`: may be read now; else it follows lease `after`."""

    id: int
    task: Digest
    node: str
    origin: str
    start: int
    count: int
    unread: int
    size: int
    granted: float
    progressed: float
    after: int = 0
    next: int = 0
    active: bool = True
    bytes: int = 0
    counted: int = 0  # bytes of verified pieces


class LeaseDesk:
    """Grants, watches and takes back leases. Shares the swarms and nodes with `Phase1`."""

    def __init__(
        self, config: Phase1Config, swarms: dict[Digest, Swarm], nodes: dict[str, Node], first_id: int
    ) -> None:
        self._config = config
        self._swarms = swarms
        self._nodes = nodes
        self._next_id = first_id
        self._leases: dict[int, Lease] = {}
        self._by_node: dict[str, dict[int, Lease]] = {}
        self.origins: dict[str, OriginBudget] = {}
        self._capped: dict[str, set[Asker]] = {}  # origin -> askers at their quota or barred
        self._dirty: set[str] = set()
        self._timers: list[tuple[float, Digest]] = []
        self._next_weighing = 0.0

    def origin(self, name: str) -> OriginBudget:
        budget = self.origins.get(name)
        if budget is None:
            limits = self._config.origins.get(name, self._config.default_origin)
            budget = self.origins[name] = OriginBudget(limits)
        return budget

    def leases(self, task: Digest) -> list[Lease]:
        return [lease for lease in self._leases.values() if lease.task == task]

    # --- asking ----------------------------------------------------------------------------------------------------

    def ask(self, swarm: Swarm, member: Member, pieces: int) -> None:
        """The member could read `pieces` more. Replaces what it asked before."""
        member.asked = pieces if member.wants else 0
        if member.asked:
            self._queue(swarm, member)
        else:
            self.asks_no_more(swarm, member.node)

    def asks_no_more(self, swarm: Swarm, node: str) -> None:
        """It asks for nothing, or for what cannot be leased now (then it is parked)."""
        asking = self.origin(swarm.origin).asking
        tasks = asking.get(node, {})
        tasks.pop(swarm.task, None)
        if not tasks and asking.pop(node, None) is not None:
            self._uncap(swarm.origin)

    def _park(self, swarm: Swarm, member: Member) -> None:
        swarm.parked.add(member.node)
        self.asks_no_more(swarm, member.node)

    def _queue(self, swarm: Swarm, member: Member) -> None:
        swarm.parked.discard(member.node)
        budget = self.origin(swarm.origin)
        budget.turn(member.node)
        budget.asking.setdefault(member.node, {})[swarm.task] = None
        budget.queue((member.node, swarm.task), int(member.priority))
        self._dirty.add(swarm.origin)

    def watch_dark(self, swarm: Swarm) -> None:
        """Pieces held without a known digest are leased to somebody once that has lasted too long."""
        if swarm.dark_since is not None and swarm.dark_since != swarm.dark_noted:
            swarm.dark_noted = swarm.dark_since
            self.wake_at(swarm, swarm.dark_since + self._config.digest_grace)

    def _uncap(self, origin: str) -> None:
        for node, task in self._capped.pop(origin, ()):
            swarm = self._swarms.get(task)
            member = swarm.members.get(node) if swarm is not None else None
            if swarm is not None and member is not None and member.asked:
                self._queue(swarm, member)

    def wake(self, swarm: Swarm) -> None:
        """There is something to lease again."""
        self._dirty.add(swarm.origin)
        for node in list(swarm.parked):
            self._queue(swarm, swarm.members[node])

    def wake_at(self, swarm: Swarm, when: float) -> None:
        heapq.heappush(self._timers, (when, swarm.task))

    # --- progress --------------------------------------------------------------------------------------------------

    def progressed(self, node: str, lease_id: int, total: int, now: float) -> None:
        """`total` bytes were read under a lease so far."""
        lease = self._by_node.get(node, {}).get(lease_id)
        if lease is not None and total > lease.bytes:
            lease.bytes = total
            lease.progressed = now

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
            lease.progressed = now
            self._measure(swarm, lease, done, now)
            self._dirty.add(swarm.origin)
            if not lease.unread:
                self._nodes[node].lease_failures = 0
                self._end(lease, now)
        if read:
            self.origin(swarm.origin).ramp += read.bit_count()
        return read

    def _measure(self, swarm: Swarm, lease: Lease, done: int, now: float) -> None:
        lease.counted += _bytes(swarm, done)
        budget = self.origin(swarm.origin)
        if lease.active:
            budget.reading -= _bytes(swarm, done)
        if now > lease.granted:
            sample = lease.counted / (now - lease.granted)
            node = self._nodes[lease.node]
            node.lease_rate = (
                sample if node.lease_rate is None else node.lease_rate + _GAIN * (sample - node.lease_rate)
            )

    def _end(self, lease: Lease, now: float) -> None:
        """Take it off the books; the lease that follows starts in its place."""
        budget = self.origin(lease.origin)
        swarm = self._swarms[lease.task]
        del self._leases[lease.id]
        del self._by_node[lease.node][lease.id]
        if lease.unread:
            swarm.leased &= ~lease.unread
            self.wake(swarm)
        if lease.active:
            budget.streams -= 1
            budget.reading -= _bytes(swarm, lease.unread)
            budget.turn(lease.node).streams -= 1
        before = self._leases.get(lease.after)
        if before is not None:
            before.next = 0
        following = self._leases.get(lease.next)
        if following is not None:
            following.after = 0
            if lease.active:
                self._activate(following, now)
        self._dirty.add(lease.origin)
        self._uncap(lease.origin)

    def _activate(self, lease: Lease, now: float) -> None:
        budget = self.origin(lease.origin)
        lease.active = True
        lease.granted = lease.progressed = now
        budget.streams += 1
        budget.reading += _bytes(self._swarms[lease.task], lease.unread)
        budget.turn(lease.node).streams += 1

    # --- taking back -----------------------------------------------------------------------------------------------

    def failed(self, node: str, lease_id: int, unread: int, now: float) -> None:
        """The node could not read `unread`; it waits a while before it gets another lease. What it did read stays
        leased until it is reported as verified."""
        lease = self._by_node.get(node, {}).get(lease_id)
        if lease is None:
            return
        swarm = self._swarms[lease.task]
        member = swarm.members[node]
        freed = lease.unread & unread
        self._bar(node, now)
        self.ask(swarm, member, member.asked + freed.bit_count())
        lease.unread &= ~freed
        swarm.leased &= ~freed
        if lease.active:
            self.origin(lease.origin).reading -= _bytes(swarm, freed)
        if not lease.unread:
            self._end(lease, now)
        self.wake(swarm)

    def _bar(self, node: str, now: float) -> None:
        record = self._nodes[node]
        pause = min(self._config.lease_back_off * 2.0**record.lease_failures, self._config.lease_back_off_max)
        record.lease_failures = min(record.lease_failures + 1, 16)
        record.barred_until = now + pause

    def drop(self, swarm: Swarm, node: str, now: float) -> list[tuple[str, LeaseRevoked]]:
        """All leases of a node on a task end now."""
        mine = [lease for lease in self._by_node.get(node, {}).values() if lease.task == swarm.task]
        for lease in mine:
            self._end(lease, now)
        return [(node, LeaseRevoked(lease.task, lease.id)) for lease in mine]

    def expire(self, now: float) -> list[tuple[str, LeaseRevoked]]:
        """Leases without progress are revoked, with those that follow them."""
        revoked: list[tuple[str, LeaseRevoked]] = []
        stuck = [lease for lease in self._leases.values() if lease.active and self._stuck(lease, now)]
        for lease in stuck:
            chain = [lease, *([self._leases[lease.next]] if lease.next else [])]
            self._bar(lease.node, now)
            for link in reversed(chain):
                swarm = self._swarms[link.task]
                member = swarm.members[link.node]
                self.ask(swarm, member, member.asked + link.unread.bit_count())
                self._end(link, now)
                revoked.append((link.node, LeaseRevoked(link.task, link.id)))
        return revoked

    def _stuck(self, lease: Lease, now: float) -> bool:
        idle = now - lease.progressed
        if idle <= min(self._config.tail_timeout, self._config.lease_timeout):
            return False
        swarm = self._swarms[lease.task]
        awaited = not swarm.all & ~swarm.held & ~swarm.leased and len(swarm.members) > 1
        return awaited or idle > self._config.lease_timeout

    # --- granting --------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Askers that waited for time to pass are looked at again."""
        if now >= self._next_weighing:
            self._next_weighing = now + _WEIGHING_SECONDS
            self._weigh()
        while self._timers and self._timers[0][0] <= now:
            swarm = self._swarms.get(heapq.heappop(self._timers)[1])
            if swarm is not None:
                self.wake(swarm)
        for name, budget in self.origins.items():
            self._uncap(name)
            if budget.waiting:
                self._dirty.add(name)

    def _weigh(self) -> None:
        """What a node reads, it has to pass on: nodes that their children find slow get smaller shares."""
        rates = {name: node.service.goodput for name, node in self._nodes.items() if node.service.goodput}
        if len(rates) < _LEAST_COMPARED:
            return
        median = statistics.median(rates.values())
        weights = {name: min(1.0, rate / median) for name, rate in rates.items()}
        for budget in self.origins.values():
            budget.weigh(weights)

    def grant(self, now: float) -> list[tuple[str, LeaseGranted]]:
        """Every lease that can be granted now."""
        granted: list[tuple[str, LeaseGranted]] = []
        while self._dirty:
            name = self._dirty.pop()
            budget = self.origin(name)
            for lease in (*self._open_streams(name, budget, now), *self._follow(budget, now)):
                granted.append((lease.node, LeaseGranted(lease.task, lease.id, lease.start, lease.count, lease.after)))
        return granted

    def _open_streams(self, name: str, budget: OriginBudget, now: float) -> Iterator[Lease]:
        while budget.has_stream() and budget.allowance(now) > 0:
            popped = budget.pop()
            if popped is None:
                return
            asker = popped[1]
            swarm = self._swarms.get(asker[1])
            member = swarm.members.get(asker[0]) if swarm is not None else None
            if swarm is None or member is None or not member.asked:
                continue
            if budget.turn(member.node).streams >= self._quota(budget) or not self._may_read(member.node, budget, now):
                self._capped.setdefault(name, set()).add(asker)
                continue
            pieces = self._free(swarm, member, now)
            if not pieces:
                self._park(swarm, member)
                continue
            lease = self._lease(swarm, member, pieces, budget, now)
            if lease is None:  # not enough bytes/s left for its next piece
                self._queue(swarm, member)
                self._dirty.discard(name)
                return
            self._activate(lease, now)
            if member.asked:
                budget.queue(asker, popped[0])
            yield lease

    def _may_read(self, node: str, budget: OriginBudget, now: float) -> bool:
        """Not while it waits after failures; and a node that serves slowly reads no more than it can pass on, unless
        nobody else reads."""
        if self._nodes[node].barred_until > now:
            return False
        turn = budget.turn(node)
        return turn.weight >= _SERVES_WELL or not budget.streams or turn.level <= budget.fair_share()

    def _quota(self, budget: OriginBudget) -> int:
        quota = budget.node_quota()
        if budget.streams >= budget.limits.target_streams:  # small shards: more streams, evenly
            quota = max(quota, -(-budget.limits.streams // max(1, len(budget.asking))))
        return quota

    def _free(self, swarm: Swarm, member: Member, now: float) -> int:
        if swarm.hold_until > now:
            return 0
        return swarm.leasable(now, self._config.digest_grace) & ~member.have

    def _lease(self, swarm: Swarm, member: Member, pieces: int, budget: OriginBudget, now: float) -> Lease | None:
        """A lease on the first run of `pieces`, as long as is fair; None when the origin's rate forbids even one."""
        layout = swarm.layout
        start = (pieces & -pieces).bit_length() - 1
        gap = ~(pieces >> start)
        run = (gap & -gap).bit_length() - 1
        fair = pieces.bit_count() // (4 * max(len(budget.asking), budget.limits.target_streams))
        record = self._nodes[member.node]
        in_time = int((record.lease_rate or 0.0) * self._config.lease_seconds) // layout.piece_size
        # Rates measured while few streams share the link are too high: sizes at most double from lease to lease.
        grown = 2 * record.lease_bytes // layout.piece_size
        count = max(1, min(run, fair, in_time, grown, member.asked))
        allowance = budget.allowance(now)
        while count > 1 and _bytes(swarm, _span(start, count)) > allowance:
            count //= 2
        size = _bytes(swarm, _span(start, count))
        # A piece larger than a second's worth waits for a full bucket and leaves a debt.
        if size > allowance and allowance < min(size, budget.limits.rate or size):
            return None
        budget.spend(size)
        record.lease_bytes = size
        budget.turn(member.node).granted += size
        member.asked -= min(count, member.asked)
        if not member.asked:
            self.asks_no_more(swarm, member.node)
        lease = Lease(
            self._next_id,
            swarm.task,
            member.node,
            swarm.origin,
            start,
            count,
            unread=_span(start, count),
            size=size,
            granted=now,
            progressed=now,
            active=False,
        )
        self._next_id += 1
        self._leases[lease.id] = lease
        self._by_node.setdefault(member.node, {})[lease.id] = lease
        swarm.leased |= lease.unread
        return lease

    def _follow(self, budget: OriginBudget, now: float) -> Iterator[Lease]:
        """Leases that follow those about to end, unless a node without any waits for its turn."""
        ending = [
            lease
            for lease in self._leases.values()
            if lease.active and not lease.next and self.origin(lease.origin) is budget and lease.unread.bit_count() <= 1
        ]
        if not ending or budget.someone_idle():
            return
        for lease in ending:
            over_quota = budget.turn(lease.node).streams > self._quota(budget)
            if over_quota or not self._may_read(lease.node, budget, now):
                continue
            for swarm, member in self._asked_by(lease, budget):
                pieces = self._free(swarm, member, now)
                if not pieces:
                    self._park(swarm, member)
                    continue
                following = self._lease(swarm, member, pieces, budget, now)
                if following is not None:
                    following.after, lease.next = lease.id, following.id
                    yield following
                break

    def _asked_by(self, lease: Lease, budget: OriginBudget) -> Iterator[tuple[Swarm, Member]]:
        """What the lease's node asks for at the same origin: the same task first."""
        tasks = list(budget.asking.get(lease.node, ()))
        if lease.task in tasks:
            tasks.insert(0, lease.task)
        for task in tasks:
            swarm = self._swarms[task]
            member = swarm.members[lease.node]
            if member.asked:
                yield swarm, member


def _span(start: int, count: int) -> int:
    return ((1 << count) - 1) << start


def _bytes(swarm: Swarm, pieces: int) -> int:
    size = pieces.bit_count() * swarm.layout.piece_size
    last = swarm.layout.count - 1
    if pieces >> last & 1:
        size -= swarm.layout.piece_size - swarm.layout.length(last)
    return size
