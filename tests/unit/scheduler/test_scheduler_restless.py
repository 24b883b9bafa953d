"""Sessions break and come back, control planes start again, nodes die: nothing is read by two, and all complete."""

from __future__ import annotations

import random

import pytest

from modeldist.artifact import Digest
from modeldist.scheduler import messages as m
from modeldist.scheduler.phase1 import OriginLimits, Phase1, Phase1Config
from modeldist.scheduler.phase2 import Phase2Config
from modeldist.scheduler.phase2 import messages as p2
from modeldist.scheduler.pieces import PieceSet
from tests.unit.scheduler.scheduler_world import PIECE, Agent, World, digest

NAMES = ("a", "b", "c", "d")
SIZES = (12 * PIECE, 5 * PIECE + 7)
CONFIG = Phase1Config(
    default_origin=OriginLimits(streams=6, target_streams=4),
    restart_grace=0.0,
    refresh=3.0,
    lease_timeout=60.0,  # longer than a walk, whose readers may stand still as long as they like
    tail_timeout=60.0,
)

TICK = 0.05  # seconds


class RestlessWorld(World):
    """A world whose sessions break: nothing that is said meanwhile arrives, and the node reads on."""

    def __init__(self, seed: int) -> None:
        super().__init__(SIZES, CONFIG, seed, Phase2Config(origin_streams=2))
        self.offline: dict[str, float] = {}  # node -> until when nothing of what it holds or reads is given away
        self.kept: dict[str, dict[Digest, int]] = {}  # its leases that were on the book when its session broke
        self._seed = seed

    def tell(self, agent: Agent, event: m.Event) -> None:
        if agent.name not in self.offline:
            super().tell(agent, event)

    def _told(self, told: list[tuple[str, m.Instruction]]) -> None:
        for name, instruction in told:
            if name in self.offline:
                assert not isinstance(instruction, m.LeaseGranted), "granted to a node without a session"
            else:
                super()._told([(name, instruction)])

    def _check_grant(self, name: str, lease: m.LeaseGranted) -> None:
        span = PieceSet.span(lease.start, lease.count).bits
        assert not span & ~self.wanted(self.agents[name], lease.task)
        for node, agent in self.agents.items():
            if node == name or self.offline.get(node, self.now) < self.now:
                continue
            known = self.reported[node][lease.task]
            if node in self.offline:
                known |= self.reads(agent, lease.task) & self.kept[node].get(lease.task, 0)
            assert not known & span, f"{node} holds or reads what {name} is to read"

    def reads(self, agent: Agent, task: Digest) -> int:
        bits = 0
        for lease in agent.phase2.leases(task):
            bits |= PieceSet.span(lease.start, lease.count).bits
        return bits & ~agent.have[task]

    def keep(self, name: str) -> None:
        self.kept[name] = {}
        for task in self.phase1.tasks():
            view = self.phase1.task(task, self.now)
            assert view is not None
            unread = [lease.unread.bits for lease in view.leases if lease.node == name]
            self.kept[name][task] = sum(unread)

    def break_session(self, name: str) -> None:
        self.keep(name)
        self.offline[name] = self.now + CONFIG.reconnect_grace - TICK
        self.agents[name].inbox.clear()
        self._told(self.phase1.node_lost(name, self.now))

    def come_back(self, name: str) -> None:
        agent = self.agents[name]
        del self.offline[name]
        self._told(self.phase1.node_joined(name, f"{name}:1", m.Location(), self.now))
        self.introduce(agent)
        agent.seq = 1
        self.tell(agent, m.Report(agent.seq))

    def deliver(self, agent: Agent) -> None:
        joined = agent.inbox[0]
        super().deliver(agent)
        if isinstance(joined, m.TaskJoined):
            self.event(agent, p2.TaskRejoined(joined.task))

    def restart(self) -> None:
        """The control plane is killed, and started again with nothing but the names of those who were there."""
        before = list(self.agents)
        for name, agent in self.agents.items():
            if name not in self.offline:
                self.keep(name)
            self.offline[name] = self.now + CONFIG.return_grace - TICK
            agent.inbox.clear()
        self._seed += 1
        self.phase1 = Phase1(CONFIG, random.Random(self._seed))
        self.phase1.expect(before, self.now)

    def report(self, agent: Agent, task: Digest, verified: tuple[int, ...] = (), lease: int = 0) -> None:
        """Digests that an earlier control plane told are told to this one."""
        super().report(agent, task, tuple(PieceSet(agent.have[task])), lease)

    def leave(self, name: str) -> None:
        self.offline.pop(name, None)
        super().leave(name)

    def up_to_date(self) -> list[Agent]:
        return [agent for name, agent in self.agents.items() if name not in self.offline and not agent.inbox]

    def check(self) -> None:
        for task in self.layouts:
            seen = 0
            for agent in self.up_to_date():
                mine = self.reads(agent, task)
                assert not seen & mine, f"{agent.name} and another both read {PieceSet(seen & mine)}"
                seen |= mine


def walk(seed: int, steps: int = 70, *, sparse: bool = False) -> None:
    """Anything in any order, then quiet: all that live must complete. `sparse`: most want parts of shards."""
    rng = random.Random(seed)
    world = RestlessWorld(seed)
    for _ in range(steps):
        step(world, rng, sparse=sparse)
        world.check()
    for name in list(world.offline):
        world.come_back(name)
    world.finish()


def part(rng: random.Random) -> dict[Digest, int]:
    """Of one or both shards."""
    return {digest(index): rng.randrange(1 << 12) for index in range(2) if rng.random() < 0.6}


def step(world: RestlessWorld, rng: random.Random, *, sparse: bool) -> None:
    (what,) = rng.choices(
        ("join", "deliver", "read", "move", "wait", "break", "back", "renew", "restart", "die"),
        (6, 24, 24, 12, 10, 6, 7, 5, 2, 1),
    )
    agents = world.agents
    online = [name for name in agents if name not in world.offline]
    inboxes = [agent for agent in agents.values() if agent.inbox]
    readers = [agent for agent in agents.values() if agent.readings]
    match what:
        case "join" if len(agents) < len(NAMES):
            name = rng.choice([name for name in NAMES if name not in agents])
            world.join(name, only=part(rng) if sparse else None)
        case "deliver" if inboxes:
            agent = rng.choice(inboxes)
            for _ in range(rng.randrange(1, len(agent.inbox) + 1)):
                world.deliver(agent)
        case "read" if readers:
            (world.fail_reading if rng.random() < 0.2 else world.read)(rng.choice(readers))
        case "move":
            for agent in list(agents.values()):
                if agent.connecting:
                    world.connect(agent)
                elif agent.requests:
                    world.arrive(agent)
        case "wait":
            world.tick(rng.choice((0.05, 0.3, 1.0, 2.5)))
        case "break" if online:
            world.break_session(rng.choice(online))
        case "back" if world.offline:
            world.come_back(rng.choice(list(world.offline)))
        case "renew" if online:
            world.introduce(agents[rng.choice(online)])  # as a node also does now and then for new capabilities
        case "restart":
            world.restart()
        case "die" if len(agents) > 1:
            world.leave(rng.choice(list(agents)))


@pytest.mark.parametrize("tens", range(60))
def test_nothing_is_read_by_two_and_all_complete(tens: int) -> None:
    for seed in range(10 * tens, 10 * tens + 10):
        print(f"{seed=}")
        walk(seed)


@pytest.mark.parametrize("tens", range(40))
def test_the_same_where_nodes_want_parts_of_shards(tens: int) -> None:
    for seed in range(10_000 + 10 * tens, 10_010 + 10 * tens):
        print(f"{seed=}")
        walk(seed, sparse=True)
