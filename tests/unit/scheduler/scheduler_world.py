"""Phase 1 and several phase 2 with everything between them in the hands of the test: each outcome is one call."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from modeldist.artifact import Digest
from modeldist.scheduler import messages as m
from modeldist.scheduler.phase1 import Phase1, Phase1Config
from modeldist.scheduler.phase2 import Phase2, Phase2Config
from modeldist.scheduler.phase2 import messages as p2
from modeldist.scheduler.pieces import PieceLayout, PieceSet

PIECE = 100
ORIGIN = "origin"


def digest(number: int) -> Digest:
    return Digest(f"sha256:{number:064x}")


def blake3_of(piece: int) -> bytes:
    return piece.to_bytes(32, "little")


@dataclass
class Reading:
    """A lease being read: pieces still to come."""

    task: Digest
    lease: int
    left: list[int]


@dataclass
class Agent:
    name: str
    phase2: Phase2
    have: dict[Digest, int] = field(default_factory=dict)
    only: dict[Digest, int] = field(default_factory=dict)  # the pieces it wants, of tasks of which it does not want all
    connected: set[str] = field(default_factory=set)
    connecting: list[str] = field(default_factory=list)
    requests: list[tuple[Digest, int, str]] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    completed: list[Digest] = field(default_factory=list)
    known: dict[Digest, int] = field(default_factory=dict)  # digests told, as a bitmap
    subscribed: dict[str, set[Digest]] = field(default_factory=dict)
    out_of_reach: dict[Digest, int] = field(default_factory=dict)  # what others hold and do not serve to it, as it said
    inbox: list[m.Instruction] = field(default_factory=list)
    seq: int = 0


class World:
    """Messages of phase 1 wait in each agent's inbox until the test delivers them."""

    def __init__(
        self, sizes: tuple[int, ...], config: Phase1Config, seed: int, phase2: Phase2Config | None = None
    ) -> None:
        self.layouts = {digest(index): PieceLayout(size, PIECE) for index, size in enumerate(sizes)}
        self.phase1 = Phase1(config, random.Random(seed))
        self.phase2_config = phase2 or Phase2Config()
        self.now = 0.0
        self.agents: dict[str, Agent] = {}
        self.reported: dict[str, dict[Digest, int]] = {}  # what phase 1 was told that each live node holds
        self.granted: list[m.LeaseGranted] = []
        self._rng = random.Random(seed + 1)

    # --- coming and going ------------------------------------------------------------------------------------------

    def join(
        self,
        name: str,
        have: dict[Digest, int] | None = None,
        rack: str = "",
        only: dict[Digest, int] | None = None,
    ) -> Agent:
        agent = Agent(name, Phase2(self.phase2_config, random.Random(self._rng.random())))
        agent.only = only or {}
        agent.have = {task: (have or {}).get(task, 0) for task in self.layouts}
        self.agents[name] = agent
        self._told(self.phase1.node_joined(name, f"{name}:1", m.Location(rack), self.now))
        self.introduce(agent)
        return agent

    def introduce(self, agent: Agent) -> None:
        """It joins everything, with what it holds and reads."""
        self.reported[agent.name] = dict(agent.have)
        joins = tuple(
            m.TaskJoin(
                task,
                layout.size,
                ORIGIN,
                PieceSet(agent.have[task]).to_bytes(),
                tuple(m.PieceDigest(piece, blake3_of(piece)) for piece in PieceSet(agent.have[task])),
                PIECE,
                leases=tuple(
                    m.HeldLease(held.lease, held.start, held.count, held.after) for held in agent.phase2.leases(task)
                ),
                only=PieceSet(agent.only.get(task, 0)).to_bytes(),
            )
            for task, layout in self.layouts.items()
        )
        self.tell(agent, m.JoinTasks(joins))

    def leave(self, name: str) -> None:
        del self.agents[name]
        del self.reported[name]
        for other in self.agents.values():
            if name in other.connected or name in other.connecting:
                self.lose(other, name)
        self._told(self.phase1.node_left(name, self.now))

    def lose(self, agent: Agent, parent: str) -> None:
        agent.connected.discard(parent)
        agent.subscribed.pop(parent, None)
        agent.connecting = [node for node in agent.connecting if node != parent]
        agent.requests = [request for request in agent.requests if request[2] != parent]
        self.event(agent, p2.ParentLost(parent, "gone"))

    # --- messages --------------------------------------------------------------------------------------------------

    def tell(self, agent: Agent, event: m.Event) -> None:
        self._told(self.phase1.handle(agent.name, event, self.now))

    def _told(self, told: list[tuple[str, m.Instruction]]) -> None:
        for name, instruction in told:
            assert instruction.task in self.layouts
            if isinstance(instruction, m.LeaseGranted):
                self.granted.append(instruction)
                self._check_grant(name, instruction)
            if name in self.agents:
                self.agents[name].inbox.append(instruction)
            else:
                assert isinstance(instruction, m.LeaseRevoked | m.Parents | m.PieceDigests), "a node that left"

    def _check_grant(self, name: str, lease: m.LeaseGranted) -> None:
        assert name in self.agents
        span = PieceSet.span(lease.start, lease.count).bits
        assert not span & ~self.wanted(self.agents[name], lease.task)
        needless = span & ~self.agents[name].out_of_reach.get(lease.task, 0)
        for node, held in self.reported.items():
            assert not held[lease.task] & needless, f"{node} holds what {name} is to read"

    def wanted(self, agent: Agent, task: Digest) -> int:
        every = self.layouts[task].all.bits
        return agent.only.get(task, 0) & every or every

    def deliver(self, agent: Agent) -> None:
        """One message of phase 1."""
        instruction = agent.inbox.pop(0)
        match instruction:
            case m.TaskJoined(task=task):
                only = PieceSet(agent.only.get(task, 0))
                self.event(agent, p2.TaskAdded(task, self.layouts[task], PieceSet(agent.have[task]), only=only))
            case m.Parents(task=task, parents=parents, share=share, stripes=stripes):
                assert agent.name not in {parent.node for parent in parents}
                self.event(agent, p2.ParentsChanged(task, parents, share, stripes))
            case m.LeaseGranted(task=task, lease=lease, start=start, count=count, after=after):
                self.event(agent, p2.LeaseArrived(task, lease, start, count, after))
            case m.LeaseRevoked(task=task, lease=lease):
                self.event(agent, p2.LeaseGone(task, lease))
            case m.PieceDigests(task=task, digests=digests):
                pieces = PieceSet.of(told.piece for told in digests)
                agent.known[task] = agent.known.get(task, 0) | pieces.bits
                self.event(agent, p2.DigestsKnown(task, pieces))

    def event(self, agent: Agent, event: p2.Event) -> None:
        for instruction in agent.phase2.handle(event, self.now):
            self._do(agent, instruction)

    def _do(self, agent: Agent, instruction: p2.Instruction) -> None:
        match instruction:
            case p2.Connect(node=node):
                assert node not in agent.connected
                agent.connecting.append(node)
            case p2.Disconnect(node=node):
                agent.connected.discard(node)
                agent.requests = [request for request in agent.requests if request[2] != node]
            case p2.Subscribe(task=task, node=node):
                agent.subscribed.setdefault(node, set()).add(task)
                if node in self.agents:
                    self.event(agent, p2.ParentHas(task, node, PieceSet(self.agents[node].have[task])))
            case p2.Unsubscribe(task=task, node=node):
                agent.subscribed.get(node, set()).discard(task)
            case p2.FetchFromPeer(task=task, piece=piece, node=node):
                self._check_fetch(agent, task, piece, node)
                agent.requests.append((task, piece, node))
            case p2.ReadLease(task=task, lease=lease, start=start, count=count):
                left = [piece for piece in range(start, start + count) if not agent.have[task] >> piece & 1]
                agent.readings.append(Reading(task, lease, left))
                moving = [one for one in agent.readings if PieceSet.of(one.left).bits & ~agent.have[one.task]]
                assert len(moving) <= self.phase2_config.origin_streams  # the others are about to end
            case p2.StopLease(task=task, lease=lease):
                if self.reading(agent, lease) is not None:
                    agent.readings = [reading for reading in agent.readings if reading.lease != lease]
                    self.event(agent, p2.LeaseGone(task, lease))
            case p2.RequestLease(task=task, pieces=pieces, out_of_reach=out_of_reach, first=first):
                agent.out_of_reach[task] = out_of_reach.bits
                self.tell(agent, m.LeaseRequest(task, pieces, out_of_reach.to_bytes(), first))
            case p2.TaskComplete(task=task):
                assert task not in agent.completed
                assert not self.wanted(agent, task) & ~agent.have[task]
                agent.completed.append(task)
                self.report(agent, task)

    def _check_fetch(self, agent: Agent, task: Digest, piece: int, node: str) -> None:
        assert node in agent.connected
        assert (task, piece, node) not in agent.requests
        assert not agent.have[task] >> piece & 1
        assert self.wanted(agent, task) >> piece & 1
        assert self.layouts[task].count == 1 or agent.known.get(task, 0) >> piece & 1
        assert len([1 for request in agent.requests if request[:2] == (task, piece)]) <= 1, "a third request"

    # --- outcomes --------------------------------------------------------------------------------------------------

    def connect(self, agent: Agent) -> None:
        node = agent.connecting.pop(0)
        if node in self.agents:
            agent.connected.add(node)
            self.event(agent, p2.ParentConnected(node))
        else:
            self.event(agent, p2.ParentLost(node, "refused"))

    def arrive(self, agent: Agent, index: int = 0) -> None:
        """A requested piece comes, and is right."""
        task, piece, node = agent.requests.pop(index)
        self.event(agent, p2.PieceFetched(task, piece, node, self.layouts[task].length(piece), 0.01))
        self.hold(agent, task, piece)

    def corrupt(self, agent: Agent, index: int = 0) -> None:
        task, piece, node = agent.requests.pop(index)
        self.event(agent, p2.PieceFetched(task, piece, node, self.layouts[task].length(piece), 0.01))
        self.event(agent, p2.PieceRejected(task, piece, node))

    def refuse(self, agent: Agent, index: int = 0) -> None:
        task, piece, node = agent.requests.pop(index)
        self.event(agent, p2.PieceRefused(task, piece, node, "not here"))

    def busy(self, agent: Agent, index: int = 0) -> None:
        task, piece, node = agent.requests.pop(index)
        self.event(agent, p2.PieceBusy(task, piece, node, 0.5))

    def hold(self, agent: Agent, task: Digest, piece: int) -> None:
        if agent.have[task] >> piece & 1:
            return
        agent.have[task] |= 1 << piece
        for other in self.agents.values():
            if agent.name in other.connected and task in other.subscribed.get(agent.name, ()):
                self.event(other, p2.ParentHas(task, agent.name, PieceSet.of((piece,))))
        self.event(agent, p2.PieceVerified(task, piece))

    def reading(self, agent: Agent, lease: int) -> Reading | None:
        return next((reading for reading in agent.readings if reading.lease == lease), None)

    def read(self, agent: Agent, index: int = 0) -> None:
        """The next piece of a lease comes from the origin, and phase 1 hears of it; or the lease ends."""
        reading = agent.readings[index]
        if reading.left:
            piece = reading.left.pop(0)
            self.hold(agent, reading.task, piece)
            self.report(agent, reading.task, verified=(piece,), lease=reading.lease)
        if not reading.left and reading in agent.readings:
            agent.readings.remove(reading)
            self.event(agent, p2.LeaseGone(reading.task, reading.lease))

    def fail_reading(self, agent: Agent, index: int = 0) -> None:
        reading = agent.readings.pop(index)
        unread = PieceSet.of(reading.left).to_bytes()
        self.tell(agent, m.LeaseFailed(reading.task, reading.lease, unread, "503"))
        self.event(agent, p2.LeaseGone(reading.task, reading.lease))

    def report(self, agent: Agent, task: Digest, verified: tuple[int, ...] = (), lease: int = 0) -> None:
        agent.seq += 1
        self.reported[agent.name][task] = agent.have[task]
        report = m.TaskReport(
            task,
            PieceSet(agent.have[task]).to_bytes(),
            tuple(m.PieceDigest(piece, blake3_of(piece)) for piece in verified),
            {lease: len(verified) * PIECE} if lease else {},
        )
        self.tell(agent, m.Report(agent.seq, m.Load(), (report,)))

    def tick(self, seconds: float) -> None:
        self.now += seconds
        self._told(self.phase1.tick(self.now))
        for agent in list(self.agents.values()):
            self.event(agent, p2.Tick())

    # --- the end ---------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Everything that can happen without time passing, all of it good."""
        busy, rounds = True, 0
        while busy:
            busy, rounds = False, rounds + 1
            assert rounds < 300, "it never comes to rest"
            for agent in list(self.agents.values()):
                while agent.inbox:
                    self.deliver(agent)
                while agent.connecting:
                    self.connect(agent)
                for what, act in ((agent.requests, self.arrive), (agent.readings, self.read)):
                    if what:
                        act(agent)
                        busy = True
                busy = busy or bool(agent.inbox or agent.connecting)

    def complete(self, agent: Agent) -> bool:
        return all(not self.wanted(agent, task) & ~agent.have[task] for task in self.layouts)

    def finish(self, seconds: float = 300.0) -> None:
        """Until all that live are complete."""
        end = self.now + seconds
        while self.now < end:
            self.settle()
            if all(self.complete(agent) for agent in self.agents.values()):
                return
            self.tick(0.2)
        raise AssertionError("some node never was complete")

    # --- invariants ------------------------------------------------------------------------------------------------

    def check(self) -> None:
        streams = 0
        for task in self.phase1.tasks():
            view = self.phase1.task(task, self.now)
            assert view is not None
            leased = 0
            for lease in view.leases:
                assert lease.node in self.agents
                assert not lease.unread.bits & leased, "a piece is leased twice"
                leased |= lease.unread.bits
                streams += lease.after == 0
            for member in view.members:
                assert set(member.parents) <= set(self.agents)
                assert len(member.parents) <= 16
        assert streams <= self.phase1._config.default_origin.streams
        for agent in self.agents.values():
            sizes = [self.layouts[task].length(piece) for task, piece, _ in agent.requests]
            assert agent.phase2.bytes_in_flight <= sum(sizes)  # less what was written off as stalled
            assert agent.phase2.bytes_in_flight <= self.phase2_config.max_in_flight
