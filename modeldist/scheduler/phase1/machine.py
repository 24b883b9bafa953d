"""Phase 1's state machine: nodes come and go, tell what they hold and measured, and are told parents, leases, digests.

Work per event follows the event: a report touches its own tasks; lists of parents change on `tick`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any

from modeldist.artifact import Digest, ShardChunks
from modeldist.scheduler import messages as m
from modeldist.scheduler.phase1 import slowness, snapshot
from modeldist.scheduler.phase1.candidates import Candidates
from modeldist.scheduler.phase1.chunk_tables import ChunkTables
from modeldist.scheduler.phase1.config import Phase1Config
from modeldist.scheduler.phase1.leases import LeaseDesk
from modeldist.scheduler.phase1.line import Line
from modeldist.scheduler.phase1.links import Links
from modeldist.scheduler.phase1.load import LoadRecord
from modeldist.scheduler.phase1.nodes import Node
from modeldist.scheduler.phase1.parents import ParentLists
from modeldist.scheduler.phase1.presence import Presence
from modeldist.scheduler.phase1.rejection import Verdict, judge
from modeldist.scheduler.phase1.service import Service
from modeldist.scheduler.phase1.swarm import Member, Swarm
from modeldist.scheduler.phase1.views import MembershipView, NodeView, TaskBrief, TaskView
from modeldist.scheduler.pieces import PieceLayout, PieceSet, piece_size_for

_MAX_PIECES = 1 << 18
_HEARD = 2.0  # seconds before a report that it speaks of; if the last one was longer ago, the node was not heard


class Phase1:
    """One per control plane. `now` in seconds of a clock that does not go back.

    Instructions are `(node, instruction)`, to be sent in order. Events of nodes that did not join are ignored.
    """

    def __init__(self, config: Phase1Config, rng: random.Random) -> None:
        self._config = config
        self._nodes: dict[str, Node] = {}
        self._swarms: dict[Digest, Swarm] = {}
        self._started: float | None = None
        # A lease of an earlier life of the control plane is never mistaken for one of this.
        self._desk = LeaseDesk(config, self._swarms, self._nodes, first_id=rng.randrange(1, 1 << 40))
        self._candidates = Candidates(config, self._nodes, rng)
        self._parents = ParentLists(
            config, self._swarms, self._nodes, self._candidates, rng, planned=self._desk.asking.wake
        )
        self._presence = Presence(config)
        self._links = Links(config, self._nodes, self._swarms, rng, self._presence.waiting)
        self._unpublished: dict[Digest, None] = {}
        self._tables = ChunkTables()
        self._handlers: dict[type, Callable[[Node, Any, float], m.Told]] = {
            m.JoinTasks: self._join_tasks,
            m.LeaveTasks: self._leave_tasks,
            m.Report: self._report,
            m.LeaseRequest: self._lease_request,
            m.LeaseFailed: self._lease_failed,
            m.ShardRejected: self._shard_rejected,
            m.Behind: self._behind,
            m.Measured: self._measured,
        }

    # --- nodes -----------------------------------------------------------------------------------------------------

    def node_joined(
        self, node: str, address: str, location: m.Location, now: float, *, measures: bool = False
    ) -> m.Told:
        """A session opened. `address` empty: it serves nobody. `measures`: it answers Measure, and others may measure
        it. A node that was here already keeps the tasks and leases that it names again before its first report."""
        if self._started is None:
            self._started = now
        load, service = LoadRecord(self._config.load_stale), Service(self._config.candidates)
        record = Node(node, address, location, load, service, joined=now, measures=measures and bool(address))
        told: m.Told = []
        if (before := self._nodes.get(node)) is not None:
            told += self.node_lost(node, now)
            record.tasks, record.unconfirmed = before.tasks, dict(before.tasks)
            record.service = before.service  # its children are still counted there
            record.spoken = before.spoken
            record.lease_rate, record.lease_bytes = before.lease_rate, before.lease_bytes
            record.shown = before.shown
            self._presence.back(node, now)
        self._nodes[node] = record
        self._links.joined(record, now)
        return told

    def node_lost(self, node: str, now: float) -> m.Told:
        """The session broke without a goodbye. A node that only lost its connection comes back within moments and goes
        on reading meanwhile, so its leases are not granted to others yet."""
        record = self._nodes.get(node)
        if record is None:
            return []
        record.absent = True
        for task in record.tasks:
            swarm = self._swarms[task]
            self._desk.asking.ask(swarm, swarm.members[node], 0)
            if isinstance(swarm.trees, Line):
                swarm.trees.lose(node)  # who follows reads on at once; what is leased to it waits
        self._presence.lost(node, now)
        return self._settle([], now)

    def node_away(self, node: str, seconds: float, now: float) -> m.Told:
        """The node restarts and is back within `seconds`: nothing that it holds is read again meanwhile, though nobody
        can get it."""
        told = self.node_lost(node, now)
        if node in self._nodes:
            self._presence.away(node, now + seconds, now)
        return told

    def node_left(self, node: str, now: float) -> m.Told:
        """The node said goodbye, or did not come back. What it had leased is granted to others at once."""
        self._presence.confirmed(node)
        record = self._nodes.get(node)
        if record is None:
            return []
        for task in list(record.tasks):
            self._leave(record, task, now)
        for budget in self._desk.asking.origins.values():
            budget.turns.pop(node, None)
        del self._nodes[node]
        return self._settle([], now)

    def expect(self, nodes: Iterable[str], now: float) -> None:
        """After a restart of the control plane: these had sessions before. Nobody is granted a lease until they have
        said what they hold and read, or some seconds have passed."""
        self._presence.expect(nodes, now)

    def waiting(self, now: float) -> bool:
        """Whether some of those may still come back."""
        return self._presence.waiting(now)

    def _confirmed(self, record: Node, now: float) -> None:
        """What the node has not named again by now is over."""
        self._presence.confirmed(record.name)
        for task in list(record.unconfirmed):
            self._leave(record, task, now)

    # --- what artifacts say ----------------------------------------------------------------------------------------

    def trust(self, chunks: ShardChunks) -> None:
        """The digests of a shard's pieces by its artifact's chunk table, which from now on cuts it, unless another
        artifact's table says otherwise."""
        if not self._tables.learn(chunks):
            return
        if (swarm := self._swarms.get(chunks.digest)) and swarm.layout.piece_size == chunks.chunk_size:
            swarm.trust(chunks.all())
            self._desk.asking.watch_dark(swarm)
            self._note_digests(swarm)

    # --- events ----------------------------------------------------------------------------------------------------

    def handle(self, node: str, event: m.Event, now: float) -> m.Told:
        record = self._nodes.get(node)
        if record is None:
            return []
        return self._settle(self._handlers[type(event)](record, event, now), now)

    def tick(self, now: float) -> m.Told:
        """Time passed (every 50-200 ms): expiry, refreshed parents, batches of digests, budgets that fill up."""
        told: m.Told = [*self._desk.expire(now)]
        for node in self._presence.overdue(now):
            if (record := self._nodes[node]).absent:
                told += self.node_left(node, now)
            else:
                self._confirmed(record, now)
        self._desk.tick(now)
        told += self._parents.tick(now)
        told += self._links.tick(now)
        return self._settle(told, now)

    def _settle(self, told: m.Told, now: float) -> m.Told:
        """What follows from any event: digests due, leases that can be granted."""
        for task in list(self._unpublished):
            told += self._publish(self._swarms[task], now)
        if not self._presence.waiting(now):
            told += self._desk.grant(now)
        return told

    def _join_tasks(self, node: Node, event: m.JoinTasks, now: float) -> m.Told:
        told: m.Told = []
        for join in event.tasks:
            told += self._join(node, join, event.priority, now)
        for task in (join.task for join in event.tasks if join.task in node.tasks):
            told += self._parents.in_line(self._swarms[task], self._swarms[task].members[node.name], now)
        return told

    def _join(self, node: Node, join: m.TaskJoin, priority: m.Priority, now: float) -> m.Told:
        swarm = self._swarms.get(join.task)
        if swarm is None:
            table = self._tables.get(join.task)
            swarm = Swarm(join.task, join.origin, _layout(join, node.capacity(now), table))
            if table and swarm.layout.piece_size == table.chunk_size:
                swarm.trust(table.all())
                swarm.unpublished.clear()
                swarm.unpublished_near.clear()
            self._swarms[join.task] = swarm
        if swarm.layout.size != join.size:
            # A digest has one size, and nobody here knows which. Whoever came first is believed until it ends.
            return [(node.name, m.TaskRefused(join.task, swarm.layout.size))]
        have = self._brought(swarm, join)
        needs = self._needs(swarm, join, have)
        complete = not needs & ~have
        member = Member(node.name, node.location, not complete, join.seed_only, priority, now, needs=needs)
        member.sparse = needs != swarm.all
        member.proves = join.chunks and join.piece_size == swarm.layout.piece_size
        before = swarm.members.get(node.name)
        first_of_session = before is None or join.task in node.unconfirmed
        if before is not None:
            member.read = before.read
            self._leave(node, join.task, now, rejoins=True)
        node.tasks[join.task] = None
        member.brought = have.bit_count()
        swarm.add(member, serves=bool(node.address))
        swarm.holds(member, have, now)
        told_digests = join.digests if join.piece_size in (0, swarm.layout.piece_size) else ()
        self._note_read(swarm, member, self._desk.book.verified(swarm, node.name, have, now), told_digests, now)
        if swarm.may_read(node.name, now):
            swarm.learn(told_digests, have, proven=False, now=now)
        self._desk.asking.watch_dark(swarm)
        self._note_digests(swarm)
        if have and not complete and before is None:
            self._hold_back(swarm, node, now)
        told: m.Told = [(node.name, m.TaskJoined(join.task, swarm.layout.piece_size, chunks=bool(swarm.table)))]
        if first_of_session:
            # A lease granted earlier in this session may still be on its way, so a later join says nothing of leases.
            revoked = self._desk.adoption.settle(swarm, member, join.leases, now)
            told += [(node.name, instruction) for instruction in revoked]
        told += self._desk.spare(swarm, have, now)
        if member.wants:
            self._links.fetching()
            if not (join.chunks and swarm.table) and (known := swarm.known_digests()):
                told.append((node.name, m.PieceDigests(join.task, known)))
            told += self._parents.first(swarm, member, now)
        self._parents.joined(swarm, member)
        return told

    def _brought(self, swarm: Swarm, join: m.TaskJoin) -> int:
        """What the joining node holds, in the swarm's pieces."""
        layout = PieceLayout(join.size, join.piece_size or swarm.layout.piece_size)
        have = PieceSet.from_bytes(join.have).bits & layout.all.bits
        if (join.seed_only and not join.only) or have == layout.all.bits:
            return swarm.all
        return have if layout == swarm.layout else 0

    @staticmethod
    def _needs(swarm: Swarm, join: m.TaskJoin, have: int) -> int:
        """What the joining node is here for, in the swarm's pieces: if it cuts the shard otherwise, those that have a
        byte of what it needs."""
        layout = PieceLayout(join.size, join.piece_size or swarm.layout.piece_size)
        only = PieceSet.from_bytes(join.only) & layout.all
        if not only:
            return swarm.all
        if join.seed_only:
            return have
        return only.bits if layout == swarm.layout else swarm.layout.touching(layout.ranges(only)).bits

    def _hold_back(self, swarm: Swarm, node: Node, now: float) -> None:
        """Soon after a start, partial content means that others may hold the rest, unless it is known who they are."""
        config = self._config
        known = self._presence.before
        if known == 0 or (known and node.reported is None):
            return
        recent = self._started is not None and now - self._started <= config.restart_window
        if recent and config.restart_grace > 0 and swarm.hold_until == float("-inf"):
            swarm.hold_until = now + config.restart_grace
            self._desk.asking.wake_at(swarm, swarm.hold_until)

    def _leave_tasks(self, node: Node, event: m.LeaveTasks, now: float) -> m.Told:
        for task in event.tasks:
            if task in node.tasks:
                self._leave(node, task, now)
        return []

    def _leave(self, node: Node, task: Digest, now: float, *, rejoins: bool = False) -> None:
        """`rejoins`: it is back at once, so its leases stay, and the swarm even when empty."""
        swarm = self._swarms[task]
        member = swarm.members[node.name]
        self._desk.asking.ask(swarm, member, 0)
        if not rejoins:
            self._desk.drop(swarm, node.name, now)
        self._candidates.release_all(swarm, member)
        node.tasks.pop(task, None)
        node.unconfirmed.pop(task, None)
        swarm.remove(node.name)
        self._parents.left(swarm, member)
        self._desk.asking.watch_dark(swarm)
        self._desk.asking.wake(swarm)
        if not rejoins:
            self._desk.no_longer_alone(swarm, node.name)
        if not swarm.members and not rejoins:
            self._unpublished.pop(task, None)
            del self._swarms[task]

    def _report(self, node: Node, event: m.Report, now: float) -> m.Told:
        if node.reported is None:
            self._confirmed(node, now)
        interval = now - (node.joined if node.reported is None else node.reported)
        fresh = node.load.accept(event.seq, event.load, now)
        if fresh:
            node.reported = now
            node.spoken += min(interval, _HEARD)
        told: m.Told = []
        for report in event.tasks:
            if report.task in node.tasks:
                told += self._task_report(node, self._swarms[report.task], report, interval, now)
        return told

    def _task_report(self, node: Node, swarm: Swarm, report: m.TaskReport, interval: float, now: float) -> m.Told:
        member = swarm.members[node.name]
        told: m.Told = []
        if member.resetting:
            return told  # it speaks of pieces that are void; its next lease request shows that it knows
        for lease, total in report.lease_bytes.items():
            self._desk.book.progressed(node.name, lease, total, now)
        have = member.have if report.have is None else PieceSet.from_bytes(report.have).bits
        for digest in report.verified:
            if 0 <= digest.piece < swarm.layout.count:
                have |= 1 << digest.piece
        if have != member.have:
            held_before = swarm.held
            new = swarm.holds(member, have, now)
            # What nobody else had it can only have read itself, though its lease was taken back meanwhile.
            late = new & member.taken_back & ~held_before
            read = late | self._desk.book.verified(swarm, node.name, new, now)
            self._note_read(swarm, member, read, report.verified, now)
            told += self._desk.spare(swarm, late, now)
            if swarm.contradicts(report.verified, read):
                return told + self._disprove(swarm, member, now)
            self._desk.asking.watch_dark(swarm)
        if report.verified and swarm.may_read(node.name, now):
            swarm.learn(report.verified, member.have, proven=False, now=now)
            self._note_digests(swarm)
        for parent in report.parents:
            if (served_by := self._nodes.get(parent.node)) is not None:
                served_by.service.report(node.name, parent, interval, now)
                if parent.failures:
                    self._presence.doubted(parent.node, now)
        if member.wants and member.complete:
            member.completed = now
            self._satisfied(swarm, member, now)
        return told

    def _note_read(self, swarm: Swarm, member: Member, read: int, told: Iterable[m.PieceDigest], now: float) -> None:
        """The member read the pieces of the bitmap `read` under its leases; `told` are their digests, and others."""
        size = swarm.layout.bytes_of(PieceSet(read))
        member.read += size
        swarm.origin_bytes += size
        swarm.in_reach(read)
        swarm.learn(told, read, proven=True, now=now)
        if read and swarm.reader == member.node:
            self._desk.read_alone(swarm, member.node, now)

    def _disprove(self, swarm: Swarm, reader: Member, now: float) -> m.Told:
        """The origin gave other bytes than the chunk table says, to a node that has no table to refuse them by. The
        table may be of an artifact that merely names this shard: it counts no more, and those begin again who believed
        it. Those who have their own artifact's go on by that."""
        self._tables.distrust(swarm.task)
        swarm.distrust()
        self._unpublished.pop(swarm.task, None)
        believed = [other for other in swarm.members.values() if other.wants and not other.proves]
        return self._reset(swarm, believed, f"{reader.node} read other pieces than a chunk table has.", now)

    def _satisfied(self, swarm: Swarm, member: Member, now: float) -> None:
        swarm.content(member)
        self._desk.asking.stop(swarm, member.node)
        self._candidates.release_all(swarm, member)
        self._parents.satisfied(swarm, member, now)

    def _lease_request(self, node: Node, event: m.LeaseRequest, now: float) -> m.Told:
        if event.task in node.tasks:
            swarm = self._swarms[event.task]
            member = swarm.members[node.name]
            member.resetting = False
            swarm.cannot_get(member, PieceSet.from_bytes(event.out_of_reach).bits & ~self._coming_back(swarm))
            swarm.await_(member, event.first)
            self._desk.asking.ask(swarm, member, max(0, event.pieces))
        return []

    def _coming_back(self, swarm: Swarm) -> int:
        """Bitmap of what is in reach again when the nodes are back that are away for a moment."""
        pieces = 0
        for node in self._presence.coming_back():
            if (member := swarm.members.get(node)) is not None:
                pieces |= member.have
        return pieces

    def _lease_failed(self, node: Node, event: m.LeaseFailed, now: float) -> m.Told:
        self._desk.failed(node.name, event.lease, PieceSet.from_bytes(event.unread).bits, now)
        return []

    def _behind(self, node: Node, event: m.Behind, now: float) -> m.Told:
        swarm = self._swarms[event.task] if event.task in node.tasks else None
        if swarm is not None and isinstance(swarm.trees, Line):
            swarm.trees.behind(node.name, event.node, slowness.share(swarm, swarm.members[node.name]))
        return []

    def _measured(self, node: Node, event: m.Measured, now: float) -> m.Told:
        self._links.answered(node.name, event)
        return []

    # --- digests ---------------------------------------------------------------------------------------------------

    def _note_digests(self, swarm: Swarm) -> None:
        if swarm.unpublished:
            self._unpublished[swarm.task] = None

    def _publish(self, swarm: Swarm, now: float) -> m.Told:
        """New digests to every member that still fetches, in batches: the larger the swarm, the larger."""
        interval = max(self._config.digest_interval, len(swarm.members) / self._config.digest_messages)
        if now - swarm.published < interval:
            return self._publish_near(swarm, now)
        swarm.published = now
        self._unpublished.pop(swarm.task, None)
        message = _digests(swarm.task, swarm.unpublished)
        swarm.unpublished.clear()
        swarm.unpublished_near.clear()
        return [(node, message) for node in swarm.wanting()]

    def _publish_near(self, swarm: Swarm, now: float) -> m.Told:
        """Those who get pieces first are told first: by the time a piece is far down its tree, its digest is there."""
        trees = swarm.trees
        if trees is None or not swarm.unpublished_near or now - swarm.published_near < self._config.digest_interval:
            return []
        swarm.published_near = now
        message = _digests(swarm.task, swarm.unpublished_near)
        swarm.unpublished_near.clear()
        return [(node, message) for node in trees.near if node in swarm.members and swarm.members[node].wants]

    def _shard_rejected(self, node: Node, event: m.ShardRejected, now: float) -> m.Told:
        if event.task not in node.tasks:
            return []
        swarm = self._swarms[event.task]
        member = swarm.members[node.name]
        verdict = judge(swarm, member, self._config, now)
        if verdict is Verdict.IGNORE:
            return []
        if verdict is Verdict.NODE:
            return self._reset(swarm, [member], f"{node.name}'s copy does not match the shard's digest.", now)
        swarm.resets += 1
        swarm.forget_digests()
        # Whoever lied about a piece is not known, so the one that found out reads everything itself: if that proves
        # wrong too, whoever finds that out is the next.
        self._desk.read_alone(swarm, node.name, now)
        self._unpublished.pop(swarm.task, None)
        unproven = [other for other in swarm.members.values() if not other.seed]
        return self._reset(swarm, unproven, f"{node.name} found that the shard's digest does not match.", now)

    def _reset(self, swarm: Swarm, members: Iterable[Member], reason: str, now: float) -> m.Told:
        told: m.Told = []
        for member in members:
            self._desk.drop(swarm, member.node, now)
            member.reset_at = now
            member.resetting = True
            swarm.holds(member, 0, now)
            self._desk.asking.ask(swarm, member, 0)
            self._parents.wants_again(swarm, member, now)
            swarm.wants_again(member)
            told.append((member.node, m.TaskReset(swarm.task, reason)))
            if known := swarm.known_digests():
                told.append((member.node, m.PieceDigests(swarm.task, known)))
        self._desk.asking.watch_dark(swarm)
        self._desk.asking.wake(swarm)
        return told

    # --- views -----------------------------------------------------------------------------------------------------

    def tasks(self) -> tuple[Digest, ...]:
        return tuple(self._swarms)

    def task(self, digest: Digest, now: float) -> TaskView | None:
        swarm = self._swarms.get(digest)
        return None if swarm is None else snapshot.task_view(swarm, self._desk.book.of_task(digest), now)

    def brief(self, digest: Digest) -> TaskBrief | None:
        swarm = self._swarms.get(digest)
        return None if swarm is None else snapshot.task_brief(swarm, len(self._desk.book.of_task(digest)))

    def nodes(self, now: float) -> tuple[NodeView, ...]:
        return tuple(snapshot.node_view(node, now) for node in self._nodes.values())

    def node(self, name: str, now: float) -> NodeView | None:
        node = self._nodes.get(name)
        return None if node is None else snapshot.node_view(node, now)

    def memberships(self, name: str) -> tuple[MembershipView, ...]:
        """What a node takes part in, in order of digest; nothing of a node that is not known."""
        node = self._nodes.get(name)
        swarms = [self._swarms[task] for task in sorted(node.tasks)] if node is not None else []
        return tuple(snapshot.membership_view(swarm, swarm.members[name]) for swarm in swarms)

    def rate(self, parent: str, child: str) -> float | None:
        """Bytes/s that `child` measured from `parent`, all tasks together. None: not measured (yet), or no pair."""
        node = self._nodes.get(parent)
        return None if node is None else node.service.rate_to(child)


def _digests(task: Digest, digests: dict[int, bytes]) -> m.PieceDigests:
    return m.PieceDigests(task, tuple(m.PieceDigest(piece, digest) for piece, digest in digests.items()))


def _layout(join: m.TaskJoin, line_rate: float | None, table: ShardChunks | None) -> PieceLayout:
    """A chunk table says how the shard is cut; else the first to join does, unless it cuts absurdly."""
    if table is not None:
        layout = PieceLayout(join.size, table.chunk_size)
        if layout.count == table.count and layout.count <= _MAX_PIECES:
            return layout
    layout = PieceLayout(join.size, max(0, join.piece_size) or piece_size_for(join.size, line_rate))
    return layout if layout.count <= _MAX_PIECES else PieceLayout(join.size, piece_size_for(join.size, line_rate))
