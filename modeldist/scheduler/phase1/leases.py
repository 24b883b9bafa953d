"""Origin leases: each piece that nobody holds is read by exactly one node.

Leases are runs of pieces from the front of the shard, short enough that all askers get their turn and that nobody is
far behind at the end. A node may hold one lease more per stream: the one that follows (`after`) starts when the first
ends, without a round trip and without another stream.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from modeldist.artifact import Digest
from modeldist.scheduler.messages import LeaseGranted, LeaseRevoked
from modeldist.scheduler.phase1.adoption import Adoption
from modeldist.scheduler.phase1.asking import Asking
from modeldist.scheduler.phase1.budget import OriginBudget
from modeldist.scheduler.phase1.config import Phase1Config
from modeldist.scheduler.phase1.lease_book import Lease, LeaseBook, bytes_of, span
from modeldist.scheduler.phase1.line import Line
from modeldist.scheduler.phase1.nodes import Node
from modeldist.scheduler.phase1.swarm import Member, Swarm

_AHEAD = 4  # pieces that a node may have been granted more than the others
_SERVES_WELL = 0.7
_READS_WELL = 0.5  # of the median rate of a stream
_NEVER_BEGUN = 3  # lease timeouts; after that a lease without a byte is stuck, whatever else its node reads
_READER_PATIENCE = 3  # lease timeouts that a lone reader may take between two pieces
_LEAST_COMPARED = 3  # nodes; among fewer there is no telling who is slow
_WEIGHING_SECONDS = 0.5
_LEAST_IN_LINE = 8  # pieces of a lease: a stream stands still for a round trip between two
_IN_LINE = 0.5  # of `lease_seconds`: if the line is over, the first is to have no more left to read than the others


class LeaseDesk:
    """Grants, watches and takes back leases. Shares the swarms and nodes with `Phase1`."""

    def __init__(
        self, config: Phase1Config, swarms: dict[Digest, Swarm], nodes: dict[str, Node], first_id: int
    ) -> None:
        self._config = config
        self._swarms = swarms
        self._nodes = nodes
        self.asking = Asking(config, swarms)
        self.book = LeaseBook(self.asking, swarms, nodes, first_id)
        self.adoption = Adoption(self.asking, self.book)
        self._next_weighing = 0.0

    # --- taking back -----------------------------------------------------------------------------------------------

    def failed(self, node: str, lease_id: int, unread: int, now: float) -> None:
        """The node could not read `unread`; it waits a while before it gets another lease. What it did read stays
        leased until it is reported as verified."""
        lease = self.book.of_node(node).get(lease_id)
        if lease is None:
            return
        swarm = self._swarms[lease.task]
        member = swarm.members[node]
        freed = lease.unread & unread
        self._bar(swarm, node, now)
        self.asking.ask(swarm, member, member.asked + freed.bit_count())
        self.book.free(lease, freed, now)
        self.no_longer_alone(swarm, node)

    def _bar(self, swarm: Swarm, node: str, now: float) -> None:
        record = self._nodes[node]
        pause = min(self._config.lease_back_off * 2.0**record.lease_failures, self._config.lease_back_off_max)
        record.lease_failures = min(record.lease_failures + 1, 16)
        record.barred_until = max(record.barred_until, now + pause)
        if swarm.trees is not None:
            swarm.trees.make_leaf(node)  # if it was a root, another is to read in its place

    def drop(self, swarm: Swarm, node: str, now: float) -> list[tuple[str, LeaseRevoked]]:
        """All leases of a node on a task end now."""
        mine = [lease for lease in self.book.of_node(node).values() if lease.task == swarm.task]
        for lease in mine:
            self.book.end(lease, now)
        return [(node, LeaseRevoked(lease.task, lease.id)) for lease in mine]

    def expire(self, now: float) -> list[tuple[str, LeaseRevoked]]:
        """Leases without progress are revoked, with those that follow them."""
        revoked: list[tuple[str, LeaseRevoked]] = []
        stuck = [lease for lease in self.book.all() if lease.active and self._stuck(lease, now)]
        for lease in stuck:
            following = self.book.get(lease.next)
            chain = [lease, *([following] if following is not None else [])]
            self._bar(self._swarms[lease.task], lease.node, now)
            for link in reversed(chain):
                swarm = self._swarms[link.task]
                member = swarm.members[link.node]
                member.taken_back |= link.unread
                self.asking.ask(swarm, member, member.asked + link.unread.bit_count())
                self.book.end(link, now)
                self.no_longer_alone(swarm, link.node)
                revoked.append((link.node, LeaseRevoked(link.task, link.id)))
        return revoked

    def spare(self, swarm: Swarm, held: int, now: float) -> list[tuple[str, LeaseRevoked]]:
        """A node says late that it holds `held`: leases on that are over, since they would read it a second time. One
        that is being read goes on to its end where only part of it is held."""
        if not (held := held & swarm.known & swarm.leased):
            return []
        revoked: list[tuple[str, LeaseRevoked]] = []
        for lease in self.book.of_task(swarm.task):
            member = swarm.members[lease.node]
            needless = held & ~member.out_of_reach
            if lease.unread & needless and not (lease.active and lease.unread & ~needless):
                self.asking.ask(swarm, member, member.asked + lease.unread.bit_count())
                self.book.end(lease, now)
                revoked.append((lease.node, LeaseRevoked(lease.task, lease.id)))
        return revoked

    def read_alone(self, swarm: Swarm, node: str, now: float) -> None:
        """From now on only `node` gets leases on this task, as long as it reads."""
        swarm.reader = node
        swarm.reader_until = now + _READER_PATIENCE * self._config.lease_timeout

    def no_longer_alone(self, swarm: Swarm, node: str) -> None:
        if swarm.reader == node:
            swarm.reader = ""
            self.asking.wake(swarm)

    def _stuck(self, lease: Lease, now: float) -> bool:
        watched = [lease]
        if not (lease.bytes or lease.counted) and now - lease.progressed < _NEVER_BEGUN * self._config.lease_timeout:
            # A node may have fewer readers than leases: while others of its leases move, this one waits for a reader.
            watched += [other for other in self.book.of_node(lease.node).values() if other.active]
        if min(now - one.progressed for one in watched) > self._config.lease_timeout:
            return True
        # A node that says nothing may read on all the same, and what it reads meanwhile would be read twice: it is to
        # have said for long enough that nothing moves.
        spoken = self._nodes[lease.node].spoken
        if min(spoken - one.spoken for one in watched) <= self._config.tail_timeout:
            return False
        swarm = self._swarms[lease.task]
        nothing_else = not swarm.needed & ~swarm.held & ~swarm.leased and len(swarm.members) > 1
        return nothing_else or swarm.trees is not None  # a root that stands still stops its whole tree

    # --- granting --------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Askers that waited for time to pass are looked at again."""
        if now >= self._next_weighing:
            self._next_weighing = now + _WEIGHING_SECONDS
            self._weigh()
        self.asking.tick(now)

    def _weigh(self) -> None:
        """What a node reads, it has to pass on: nodes that their children find slow get smaller shares."""
        for budget in self.asking.origins.values():
            reading = [rate for node in budget.asking if (rate := self._nodes[node].lease_rate)]
            budget.stream_rate = statistics.median(reading) if len(reading) >= _LEAST_COMPARED else 0.0
        rates = {name: node.service.goodput for name, node in self._nodes.items() if node.service.goodput}
        if len(rates) < _LEAST_COMPARED:
            return
        median = statistics.median(rates.values())
        weights = {name: min(1.0, rate / median) for name, rate in rates.items()}
        for budget in self.asking.origins.values():
            budget.weigh(weights)

    def grant(self, now: float) -> list[tuple[str, LeaseGranted]]:
        """Every lease that can be granted now."""
        granted: list[tuple[str, LeaseGranted]] = []
        while self.asking.dirty:
            name, _ = self.asking.dirty.popitem()
            budget = self.asking.origin(name)
            for lease in (*self._open_streams(name, budget, now), *self._follow(name, budget, now)):
                granted.append((lease.node, LeaseGranted(lease.task, lease.id, lease.start, lease.count, lease.after)))
        return granted

    def _open_streams(self, name: str, budget: OriginBudget, now: float) -> Iterator[Lease]:
        while self._has_stream(name, budget) and budget.allowance(now) > 0:
            popped = budget.pop()
            if popped is None:
                return
            asker = popped[1]
            swarm = self._swarms.get(asker[1])
            member = swarm.members.get(asker[0]) if swarm is not None else None
            if swarm is None or member is None or not member.asked:
                continue
            quota = self._quota(budget, swarm, member.node, now) + self._starves(swarm, member)
            full = budget.turn(member.node).streams >= quota
            if full or not self._may_read(swarm, member.node, budget, now):
                self.asking.cap(name, asker)
                continue
            pieces = self._free(swarm, member, now)
            if not pieces:
                self.asking.park(swarm, member)
                continue
            if not self._in_time(swarm, member.node, pieces, budget, 0):
                self.asking.cap(name, asker)
                continue
            lease = self._lease(swarm, member, pieces, budget, now)
            if lease is None:  # not enough bytes/s left for its next piece
                self.asking.queue(swarm, member)
                self.asking.dirty.pop(name, None)
                return
            self.book.activate(lease, now)
            if member.asked:
                budget.queue(asker, popped[0])
            yield lease

    def _has_stream(self, name: str, budget: OriginBudget) -> bool:
        budget.ending = sum(1 for _ in self.book.ending(name))
        return budget.has_stream()

    def _may_read(self, swarm: Swarm, node: str, budget: OriginBudget, now: float) -> bool:
        """Not while it waits after failures, or is ahead of the others; and a node that serves slowly reads no more
        than it can pass on, unless nobody else reads."""
        record = self._nodes[node]
        if record.absent or record.barred_until > now:
            return False
        if swarm.trees is None and budget.ahead(node, _AHEAD * swarm.layout.piece_size):
            return False
        turn = budget.turn(node)
        return turn.weight >= _SERVES_WELL or not budget.streams or turn.level <= budget.fair_share()

    def _in_time(self, swarm: Swarm, node: str, pieces: int, budget: OriginBudget, before: int) -> bool:
        """Whether a node that reads or serves slowly beside the others would have read a piece, and the `before` that
        its stream reads first, and passed them on, before they have read all."""
        record, total = self._nodes[node], budget.stream_rate * budget.streams
        if not total or len(budget.asking) < _LEAST_COMPARED:
            return True
        pace = 0.0  # seconds per byte
        if record.lease_rate and record.lease_rate < _READS_WELL * budget.stream_rate:
            pace += 1 / record.lease_rate
        if record.service.goodput and budget.turn(node).weight < _SERVES_WELL:
            pace += 1 / record.service.goodput
        return (before + 1) * swarm.layout.piece_size * pace <= bytes_of(swarm, pieces) / total

    def _quota(self, budget: OriginBudget, swarm: Swarm, node: str, now: float) -> int:
        limits = budget.limits
        most = min(limits.node_streams, budget.ramp(node, swarm.layout.size, now))
        in_trees = swarm.trees is not None and not swarm.members[node].sparse
        if swarm.trees is not None and in_trees and not swarm.reader and not swarm.members[node].out_of_reach:
            trees = len(swarm.trees.roots_at(node)) or bool(swarm.unproven)
            return min(self._config.stripe_streams * trees, most)
        quota = budget.node_quota()
        if budget.filled:  # small shards: more streams, evenly
            quota = max(quota, -(-limits.streams // max(1, len(budget.asking))))
        return min(quota, most)

    def _starves(self, swarm: Swarm, member: Member) -> bool:
        """Whether somebody there waits for it, and the node reads nothing of it: what it does read may hang."""
        if not member.first:
            return False
        return not any(lease.task == swarm.task for lease in self.book.of_node(member.node).values())

    def _free(self, swarm: Swarm, member: Member, now: float) -> int:
        if swarm.hold_until > now:
            return 0
        if not swarm.may_read(member.node, now):
            if swarm.reader_noted != swarm.reader_until:
                swarm.reader_noted = swarm.reader_until
                self.asking.wake_at(swarm, swarm.reader_until)
            return 0
        free = swarm.leasable(member, now, self._config.digest_grace)
        own = swarm.readable(member)
        reads = own & ~swarm.unproven  # a root helps the others when its own stripe is done
        return free & own or (free if reads else 0)

    def _lease(self, swarm: Swarm, member: Member, pieces: int, budget: OriginBudget, now: float) -> Lease | None:
        """A lease on the first run of `pieces`, or of those that somebody waits for, as long as is fair; None when the
        origin's rate forbids even one."""
        pieces = swarm.front(member, pieces)
        start = (pieces & -pieces).bit_length() - 1
        gap = ~(pieces >> start)
        run = (gap & -gap).bit_length() - 1
        record = self._nodes[member.node]
        count = max(1, min(run, self._enough(swarm, record, pieces, budget), member.asked))
        allowance = budget.allowance(now)
        while count > 1 and bytes_of(swarm, span(start, count)) > allowance:
            count //= 2
        size = bytes_of(swarm, span(start, count))
        # A piece larger than a second's worth waits for a full bucket and leaves a debt.
        if size > allowance and allowance < min(size, budget.limits.rate or size):
            return None
        budget.spend(size)
        record.lease_bytes = size
        budget.turn(member.node).granted += size
        member.asked -= min(count, member.asked)
        if not member.asked:
            self.asking.stop(swarm, member.node)
        return self.book.add(swarm, member.node, start, count, now)

    def _enough(self, swarm: Swarm, node: Node, pieces: int, budget: OriginBudget) -> int:
        """How many pieces are as much as one lease should have."""
        layout = swarm.layout
        seconds = self._config.lease_seconds
        if isinstance(swarm.trees, Line):  # its first alone reads, on its few streams: nobody waits for a turn
            fair = max(pieces.bit_count() // (2 * self._config.stripe_streams), _LEAST_IN_LINE)
            seconds *= _IN_LINE
        else:  # who asks for several tasks shares out its turns between them, and so does the origin its streams
            turns = 4 * max(1, swarm.askers) * max(len(budget.asking), budget.limits.target_streams)
            fair = pieces.bit_count() * max(budget.asks, 1) // turns
        in_time = int((node.lease_rate or 0.0) * seconds) // layout.piece_size
        # Rates measured while few streams share the link are too high: sizes at most double from lease to lease.
        grown = 2 * node.lease_bytes // layout.piece_size
        if swarm.trees is not None or len(budget.asking) == 1:
            return min(fair, in_time, grown)
        # Nor does a lease take a node far ahead of the others.
        even = int(budget.room(node.name, _AHEAD * layout.piece_size)) // layout.piece_size
        return min(fair, in_time, grown, even)

    def _follow(self, name: str, budget: OriginBudget, now: float) -> Iterator[Lease]:
        """Leases that follow those about to end, unless a node without any waits for its turn."""
        ending = list(self.book.ending(name))
        if not ending or budget.someone_idle():
            return
        for lease in ending:
            swarm = self._swarms[lease.task]
            over_quota = budget.turn(lease.node).streams > self._quota(budget, swarm, lease.node, now)
            if over_quota or not self._may_read(swarm, lease.node, budget, now):
                continue
            for swarm, member in self._asked_by(lease, budget):
                pieces = self._free(swarm, member, now)
                if not pieces:
                    self.asking.park(swarm, member)
                    continue
                if not self._in_time(swarm, member.node, pieces, budget, lease.unread.bit_count()):
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
