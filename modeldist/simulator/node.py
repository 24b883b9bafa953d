"""One simulated agent: its phase 2, what it holds and whom it serves. Plays the engine's part, without bytes."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from modeldist.artifact import Digest
from modeldist.scheduler import messages as m
from modeldist.scheduler.parent_tally import ParentTally
from modeldist.scheduler.phase2 import Phase2
from modeldist.scheduler.phase2 import messages as p2
from modeldist.scheduler.pieces import PieceSet
from modeldist.simulator.network import Link
from modeldist.simulator.reader import Reader
from modeldist.simulator.scenario import NodeSpec

if TYPE_CHECKING:
    from modeldist.simulator.world import World

_BUSY_SECONDS = 0.2
_COALESCE = 0.02  # seconds; as the agent's reporter


def blake3_of(piece: int) -> bytes:
    """Stands for a piece's digest."""
    return piece.to_bytes(32, "little")


class SimulatedNode:
    def __init__(self, world: World, spec: NodeSpec, rng: random.Random) -> None:
        self.world = world
        self.spec = spec
        self.name = spec.name
        self.up = Link(f"{spec.name} up", spec.up)
        self.down = Link(f"{spec.name} down", spec.down)
        self.phase2 = Phase2(world.scenario.phase2, rng)
        tasks = list(world.tasks)
        self.wanted = tasks if spec.wants is None else [tasks[index] for index in spec.wants]
        self.only = {task: self._part(index) for index, task in enumerate(tasks)} if spec.part else {}
        self.have: dict[Digest, int] = {task: world.tasks[task].all.bits if spec.holds else 0 for task in self.wanted}
        self.alive = False
        self.finished: float | None = None
        self.origin_bytes = 0.0
        self.peer_bytes = 0
        self.wasted_bytes = 0
        self._incomplete = set() if spec.holds else set(self.wanted)
        self._subscribers: dict[Digest, dict[str, None]] = {}
        self._awaited: set[tuple[Digest, int]] = set()  # pieces being fetched that others wait to have from here
        self._news: dict[Digest, int] = {}  # to be told in the next round, or at leisure
        self._round = float("-inf")
        self._rounds_soon = False
        self._connected: set[str] = set()
        self._changed: dict[Digest, None] = {}
        self._tallies: dict[tuple[Digest, str], ParentTally] = {}
        self._read: dict[Digest, list[m.PieceDigest]] = {}  # from the origin, since the report
        self._reported = float("-inf")
        self._reports_soon = False
        self._readers: dict[tuple[Digest, int], Reader] = {}
        self._seq = 0
        self._jitter = rng.random()
        spread = world.scenario.stream_spread
        self.stream_weight = math.exp(rng.gauss(0.0, spread)) if spread else 1.0

    # --- life ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        world, now = self.world, self.world.clock.now
        self.alive = True
        world.deliver(world.phase1.node_joined(self.name, self.name, m.Location(self.spec.rack, self.spec.zone), now))
        joins = tuple(self._join(task) for task in self.wanted)
        world.tell_control(self, m.JoinTasks(joins, self.spec.priority))
        world.clock.after(world.scenario.report_interval * self._jitter, self._report_regularly)
        if self.spec.holds:
            self._finish()
        else:
            world.clock.after(world.scenario.tick * self._jitter, self._tick)

    def _join(self, task: Digest) -> m.TaskJoin:
        layout = self.world.tasks[task]
        have = PieceSet(self.have[task])
        digests = tuple(m.PieceDigest(piece, blake3_of(piece)) for piece in have)
        only = self.only[task].to_bytes() if self.only else b""
        return m.TaskJoin(
            task, layout.size, "origin", have.to_bytes(), digests, layout.piece_size, self.spec.holds, only=only
        )

    def _part(self, shard: int) -> PieceSet:
        return self.world.scenario.pieces(self.spec, shard)

    def die(self) -> None:
        """kill -9: connections break, the session too. Phase 1 cannot tell that from a node that will be back."""
        if not self.alive:
            return
        world = self.world
        self.alive = False
        for reader in self._readers.values():
            reader.stop()
        world.cut(self.name)
        for other in world.nodes.values():
            if other.alive and self.name in other._connected:
                world.clock.after(world.scenario.latency, lambda child=other: child.lost(self.name))  # type: ignore[misc]
        world.clock.after(
            world.scenario.session_latency, lambda: world.deliver(world.phase1.node_lost(self.name, world.clock.now))
        )

    def _finish(self) -> None:
        self.finished = self.world.clock.now
        self.world.finished(self)

    def _tick(self) -> None:
        if self.alive and self._incomplete:
            self.event(p2.Tick())
            self.world.clock.after(self.world.scenario.tick, self._tick)

    # --- phase 1 says ----------------------------------------------------------------------------------------------

    def instructed(self, instruction: m.Instruction) -> None:
        if not self.alive:
            return
        match instruction:
            case m.TaskJoined(task=task):
                if not self.spec.holds:
                    have = PieceSet(self.have[task])
                    only = self.only.get(task, PieceSet())
                    self.event(p2.TaskAdded(task, self.world.tasks[task], have, self.spec.priority, only))
            case m.Parents(task=task, parents=parents, share=share, stripes=stripes):
                self.event(p2.ParentsChanged(task, parents, share, stripes))
            case m.LeaseGranted(task=task, lease=lease, start=start, count=count, after=after):
                self.event(p2.LeaseArrived(task, lease, start, count, after))
            case m.LeaseRevoked(task=task, lease=lease):
                self.event(p2.LeaseGone(task, lease))
            case m.PieceDigests(task=task, digests=digests):
                self.event(p2.DigestsKnown(task, PieceSet.of(digest.piece for digest in digests)))
            case m.TaskReset(task=task):
                self.have[task] = 0
                self.event(p2.TaskRestarted(task))

    # --- phase 2 says ----------------------------------------------------------------------------------------------

    def event(self, event: p2.Event) -> None:
        for instruction in self.phase2.handle(event, self.world.clock.now):
            self._do(instruction)

    def _later(self, seconds: float, event: p2.Event) -> None:
        def arrive() -> None:
            if self.alive:
                self.event(event)

        self.world.clock.after(seconds, arrive)

    def _do(self, instruction: p2.Instruction) -> None:
        latency = self.world.scenario.latency
        match instruction:
            case p2.Connect(node=node):
                self._connect(node)
            case p2.Disconnect(node=node):
                self._connected.discard(node)
            case p2.Subscribe(task=task, node=node):
                self._at(node, latency, lambda parent: parent.subscribe(task, self))
            case p2.Unsubscribe(task=task, node=node):
                self._at(node, latency, lambda parent: parent.unsubscribe(task, self.name))
            case p2.FetchFromPeer(task=task, piece=piece, node=node, awaited=awaited):
                if awaited:
                    self._awaited.add((task, piece))
                sent = self.world.clock.now
                self._tally(task, node).began(sent)
                self._at(node, latency, lambda parent: parent.serve(task, piece, self, sent))
            case p2.ReadLease(task=task, lease=lease, start=start, count=count):
                self._readers[task, lease] = Reader(self, task, lease, start, count)
            case p2.StopLease(task=task, lease=lease):
                if (reader := self._readers.pop((task, lease), None)) is not None:
                    reader.stop()
                    self.event(p2.LeaseGone(task, lease))
            case p2.RequestLease(task=task, pieces=pieces, out_of_reach=out_of_reach, first=first):
                self.world.tell_control(self, m.LeaseRequest(task, pieces, out_of_reach.to_bytes(), first))
            case p2.TellBehind(task=task, node=node):
                self.world.tell_control(self, m.Behind(task, node))
            case p2.TaskComplete(task=task):
                self._complete(task)

    def _at(self, node: str, latency: float, what: Callable[[SimulatedNode], None]) -> None:
        parent = self.world.nodes[node]

        def arrive() -> None:
            if parent.alive and self.alive:
                what(parent)

        self.world.clock.after(latency, arrive)

    def _connect(self, node: str) -> None:
        if self.world.nodes[node].alive:
            self._connected.add(node)
            self._later(3 * self.world.scenario.latency, p2.ParentConnected(node))
        else:
            self._later(2 * self.world.scenario.latency, p2.ParentLost(node, "connection refused"))

    def _complete(self, task: Digest) -> None:
        self._incomplete.discard(task)
        if not self._incomplete:
            self._finish()
            self.report()

    # --- serving ---------------------------------------------------------------------------------------------------

    def subscribe(self, task: Digest, child: SimulatedNode) -> None:
        self._subscribers.setdefault(task, {})[child.name] = None
        child._later(self.world.scenario.latency, p2.ParentHas(task, self.name, PieceSet(self.have[task])))

    def unsubscribe(self, task: Digest, child: str) -> None:
        self._subscribers.get(task, {}).pop(child, None)

    def serve(self, task: Digest, piece: int, child: SimulatedNode, sent: float) -> None:
        world, now = self.world, self.world.clock.now
        if self.spec.busy is not None and self.spec.busy[0] <= now < self.spec.busy[1]:
            child._answered(task, self.name)
            child._later(world.scenario.latency, p2.PieceBusy(task, piece, self.name, _BUSY_SECONDS))
            return
        if not self.have[task] >> piece & 1:
            child._answered(task, self.name)
            child._later(world.scenario.latency, p2.PieceRefused(task, piece, self.name, "not here"))
            return
        size = world.tasks[task].length(piece)

        def arrived() -> None:
            world.clock.after(world.scenario.latency, lambda: child.fetched(task, piece, self.name, size, sent))

        world.network.send(world.flow(self, child), size, arrived)

    # --- pieces ----------------------------------------------------------------------------------------------------

    def fetched(self, task: Digest, piece: int, node: str, size: int, sent: float) -> None:
        if not self.alive:
            return
        seconds = self.world.clock.now - sent
        self.peer_bytes += size
        self._tally(task, node).bytes += size
        self._answered(task, node)
        self.event(p2.PieceFetched(task, piece, node, size, seconds))
        if self.have[task] >> piece & 1:
            self.wasted_bytes += size
        self.world.clock.after(size / self.world.scenario.verify_rate, lambda: self.verified(task, piece))

    def _tally(self, task: Digest, node: str) -> ParentTally:
        return self._tallies.setdefault((task, node), ParentTally())

    def _answered(self, task: Digest, node: str) -> None:
        tally = self._tally(task, node)
        if tally.outstanding:
            tally.finished(self.world.clock.now)

    def lost(self, node: str) -> None:
        """The connection to a parent broke; what was asked of it is not answered."""
        if not self.alive:
            return
        for (_, parent), tally in self._tallies.items():
            while parent == node and tally.outstanding:
                tally.finished(self.world.clock.now)
        self._tally(self.wanted[0], node).failures += 1
        self.event(p2.ParentLost(node, "connection reset"))

    def verified(self, task: Digest, piece: int, *, from_origin: bool = False) -> None:
        if not self.alive or self.have[task] >> piece & 1:
            return
        self.have[task] |= 1 << piece
        self._changed[task] = None
        awaited = from_origin or (task, piece) in self._awaited
        self._awaited.discard((task, piece))
        if not self._news.get(task) and not awaited:
            self.world.clock.after(self.world.scenario.leisure, lambda: self._tell_news(task))
        self._news[task] = self._news.get(task, 0) | 1 << piece
        if awaited and not self._rounds_soon:
            self._rounds_soon = True
            self.world.clock.at(self._round + self.world.scenario.have_interval, self._tell_all)
        self.event(p2.PieceVerified(task, piece))

    def _tell_all(self) -> None:
        """As the herald's rounds: the first news that are awaited at once, the next an interval after the round."""
        self._rounds_soon, self._round = False, self.world.clock.now
        for task in list(self._news):
            self._tell_news(task)

    def _tell_news(self, task: Digest) -> None:
        news = self._news.pop(task, 0)
        children = self._subscribers.get(task)
        if self.alive and news and children:
            has = p2.ParentHas(task, self.name, PieceSet(news))
            self.world.clock.after(self.world.scenario.latency, lambda: self._tell(list(children), has))

    def _tell(self, children: list[str], has: p2.ParentHas) -> None:
        for child in children:
            other = self.world.nodes[child]
            if other.alive:
                other.event(has)

    def read(self, reader: Reader, piece: int) -> None:
        """A piece came from the origin, was verified, and its digest is news."""
        self.verified(reader.task, piece, from_origin=True)
        if self.alive:
            self._read.setdefault(reader.task, []).append(m.PieceDigest(piece, blake3_of(piece)))
            self._report_soon()

    def lease_over(self, reader: Reader) -> None:
        if self._readers.pop((reader.task, reader.lease), None) is not None and self.alive:
            self.event(p2.LeaseGone(reader.task, reader.lease))

    # --- reports ---------------------------------------------------------------------------------------------------

    def _report_regularly(self) -> None:
        if self.alive:
            self.report()
            self.world.clock.after(self.world.scenario.report_interval, self._report_regularly)

    def _report_soon(self) -> None:
        if not self._reports_soon:
            self._reports_soon = True
            now = self.world.clock.now
            self.world.clock.at(max(now, self._reported + _COALESCE), self._report_once)

    def _report_once(self) -> None:
        self._reports_soon = False
        if self.alive:
            self.report()

    def report(self) -> None:
        now = self.world.clock.now
        self._reported = now
        leases: dict[Digest, dict[int, int]] = {}
        for (task, lease), reader in self._readers.items():
            leases.setdefault(task, {})[lease] = round(reader.bytes_read)
        parents: dict[Digest, list[m.ParentReport]] = {}
        for (task, node), tally in self._tallies.items():
            parents.setdefault(task, []).append(tally.drain(node, now))
        self._tallies = {key: tally for key, tally in self._tallies.items() if tally.outstanding}
        tasks = tuple(
            m.TaskReport(
                task,
                have=PieceSet(self.have[task]).to_bytes() if task in self._changed else None,
                verified=tuple(self._read.get(task, ())),
                lease_bytes=leases.get(task, {}),
                parents=tuple(parents.get(task, ())),
            )
            for task in {**self._changed, **self._read, **leases, **parents}
        )
        self._changed.clear()
        self._read.clear()
        self._seq += 1
        speed = self.spec.up if self.world.scenario.line_rates else None
        self.world.tell_control(self, m.Report(self._seq, m.Load(nic_speed=speed), tasks))
