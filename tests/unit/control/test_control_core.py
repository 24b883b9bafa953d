"""The core without a server: real phase 1, an in-memory origin, a clock the test turns."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest

from modeldist.artifact import Digest
from modeldist.control.agent_session import AgentSession
from modeldist.control.core import RESOLVING_LIMIT, ControlCore
from modeldist.control.greeting import MAX_LABELS, ReportIntervals, spoken_by_both
from modeldist.control.outbox import STUCK_AFTER
from modeldist.control.resolver import ERROR_LIFETIME, MemoryCatalogue, Resolver
from modeldist.control.twins import REMEMBERED
from modeldist.errors import ControlPlaneRefused, OriginUnavailable, RateLimited
from modeldist.scheduler.messages import (
    JoinTasks,
    LeaseGranted,
    LeaseRequest,
    Load,
    ParentReport,
    PieceDigest,
    Report,
    TaskJoin,
    TaskJoined,
    TaskReport,
)
from modeldist.scheduler.phase1 import Phase1, Phase1Config
from modeldist.session.messages import (
    PROTOCOL,
    FromControl,
    Hello,
    Inventory,
    PullProgress,
    ReportEvery,
    Resolve,
    Resolved,
    ResolveFailed,
    StartPull,
    UpdateProgress,
)
from modeldist.transfer.capability import CapabilityChecker, CapabilityIssuer, new_private_key
from tests.servers.memory_origin import MemoryOrigin

REFERENCE = "memory://org/model:v1"
TASK = Digest("sha256:" + "ab" * 32)
MIB = 1 << 20


class Watcher:
    def __init__(self) -> None:
        self.seen: list[str] = []

    def connected(self, session: AgentSession) -> None:
        self.seen.append(f"+{session.node}")

    def disconnected(self, session: AgentSession) -> None:
        self.seen.append(f"-{session.node}")

    def progressed(self, session: AgentSession, progress: PullProgress) -> None:
        self.seen.append(f"{session.node} {progress.state}")


@dataclass
class World:
    now: float = 1000.0
    origin: MemoryOrigin = field(default_factory=MemoryOrigin)
    watcher: Watcher = field(default_factory=Watcher)
    issuer: CapabilityIssuer = field(init=False)
    core: ControlCore = field(init=False)

    def __post_init__(self) -> None:
        self.origin.add(REFERENCE, {"model.safetensors": b"x"})
        self.issuer = CapabilityIssuer(new_private_key(), self.clock)
        self.core = ControlCore(
            scheduler=Phase1(Phase1Config(restart_grace=0.0), random.Random(1)),
            resolver=Resolver(self.origin, MemoryCatalogue(), self.clock),
            clock=self.clock,
            capabilities=self.issuer,
            watchers=(self.watcher,),
            outbox_limit=100,
        )

    def clock(self) -> float:
        return self.now

    def connect(self, node: str) -> AgentSession:
        return self.core.connect(greeting(node))


@pytest.mark.parametrize(
    ("agent", "control", "spoken"),
    [
        ((1, 1), (1, 1), 1),
        ((1, 2), (1, 1), 1),
        ((1, 1), (1, 2), 1),
        ((2, 3), (1, 2), 2),
        ((1, 2), (2, 3), 2),
        ((3, 4), (1, 2), None),
        ((1, 2), (3, 4), None),
    ],
)
def test_neighbouring_versions_speak_the_newest_that_both_know(
    agent: tuple[int, int], control: tuple[int, int], spoken: int | None
) -> None:
    assert spoken_by_both(*agent, ours=control) == spoken


def greeting(node: str, protocol: int = PROTOCOL, **more: object) -> Hello:
    return Hello(protocol, node, node, "0.1.0", "10.0.0.1:7421", **more)  # type: ignore[arg-type]


async def told(session: AgentSession, kind: type, count: int = 1) -> list[FromControl]:
    """The next `count` messages of a kind that a session is told."""
    found: list[FromControl] = []
    async with asyncio.timeout(10):
        async for message in session.outbox.drain():
            if isinstance(message, kind):
                found.append(message)
                if len(found) == count:
                    break
    return found


async def until(session: AgentSession, last: FromControl) -> AsyncIterator[FromControl]:
    """What a session is told before `last`."""
    async with asyncio.timeout(10):
        async for message in session.outbox.drain():
            if message == last:
                return
            yield message


@pytest.fixture
async def world():
    world = World()
    yield world
    await world.core.close()


async def test_a_herd_makes_one_request(world: World) -> None:
    world.origin.answering.clear()
    sessions = [world.connect(f"n{n}") for n in range(50)]
    for session in sessions:
        world.core.receive(session, Resolve(1, REFERENCE))
    await asyncio.sleep(0)
    world.core.disconnect(sessions[0], "gone")  # who asked first goes, and the others are answered
    world.origin.answering.set()
    for session in sessions[1:]:
        (resolved,) = await told(session, Resolved)
        assert isinstance(resolved, Resolved)
        assert resolved.artifact is not None
    assert world.origin.requests == {f"resolve {REFERENCE}": 1}


async def test_what_nodes_have_is_named_while_the_origin_is_away(world: World) -> None:
    session = world.connect("a")
    world.core.receive(session, Resolve(1, REFERENCE))
    (before,) = await told(session, Resolved)
    assert isinstance(before, Resolved)
    assert before.artifact is not None
    assert before.away is None
    world.origin.failures[REFERENCE] = OriginUnavailable("registry.example: down.", remedy="Wait.")
    late = world.connect("b")
    world.core.receive(late, Resolve(2, REFERENCE))
    (failed,) = await told(late, ResolveFailed)  # nobody could give it
    assert isinstance(failed, ResolveFailed)
    world.core.receive(session, Inventory((before.artifact.digest,)))
    for known in (None, before.artifact.digest):
        world.core.receive(late, Resolve(3, REFERENCE, known))
        (after,) = await told(late, Resolved)
        assert isinstance(after, Resolved)
        assert after.artifact == (None if known else before.artifact)
        assert after.away == failed.error
    world.core.disconnect(session, "gone")
    world.core.receive(late, Resolve(4, REFERENCE))
    assert await told(late, ResolveFailed)


async def test_an_error_is_remembered_for_a_while(world: World) -> None:
    session = world.connect("a")
    world.origin.failures[REFERENCE] = OriginUnavailable("registry.example: down.", remedy="Wait.")
    for request in range(3):
        world.core.receive(session, Resolve(request, REFERENCE))
        (failed,) = await told(session, ResolveFailed)
        assert isinstance(failed, ResolveFailed)
        assert (failed.request, failed.error.code, failed.error.remedy) == (request, "origin_unavailable", "Wait.")
    assert world.origin.requests == {f"resolve {REFERENCE}": 1}
    del world.origin.failures[REFERENCE]
    world.now += ERROR_LIFETIME + 0.1
    world.core.receive(session, Resolve(9, REFERENCE))
    await told(session, Resolved)


async def test_an_origin_that_asks_for_patience_gets_it(world: World) -> None:
    world.origin.failures[REFERENCE] = RateLimited("slow down", retry_after=30.0)
    for later in (0.0, 20.0, 9.0):
        world.now += later
        with pytest.raises(RateLimited):
            await world.core.resolve(REFERENCE)
    assert world.origin.requests[f"resolve {REFERENCE}"] == 1
    world.now += 2.0
    with pytest.raises(RateLimited):
        await world.core.resolve(REFERENCE)
    assert world.origin.requests[f"resolve {REFERENCE}"] == 2


async def test_failures_are_forgotten_when_there_are_many(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modeldist.control.resolver.REMEMBERED", 2)
    names = [f"memory://org/none:{n}" for n in range(3)]
    for name in (*names, names[0], names[2]):
        with pytest.raises(Exception, match="no such model"):
            await world.core.resolve(name)
    assert [world.origin.requests[f"resolve {name}"] for name in names] == [2, 1, 1]


async def test_a_resolution_that_hangs_ends(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modeldist.control.resolver.FLIGHT_LIMIT", 0.01)
    world.origin.answering.clear()
    with pytest.raises(OriginUnavailable, match="not resolved after"):
        await world.core.resolve(REFERENCE)


async def test_the_catalogue_forgets_the_oldest() -> None:
    origin = MemoryOrigin()
    catalogue = MemoryCatalogue(limit=2)
    for n in range(3):
        await catalogue.remember(f"memory://org/m:{n}", origin.add(f"memory://org/m:{n}", {"f": b"%d" % n}))
    assert await catalogue.candidate("memory://org/m:0", None) is None
    assert await catalogue.candidate("memory://org/m:2", None) is not None


async def test_known_is_rechecked_and_a_moved_tag_noticed(world: World) -> None:
    session = world.connect("a")
    first = await world.core.resolve(REFERENCE)
    world.core.receive(session, Resolve(1, REFERENCE, first.digest))
    assert await told(session, Resolved) == [Resolved(1, None)]
    moved = world.origin.add(REFERENCE, {"model.safetensors": b"y"})
    world.core.receive(session, Resolve(2, REFERENCE, first.digest))
    assert await told(session, Resolved) == [Resolved(2, moved)]


async def test_a_node_cannot_make_others_believe_in_its_known(world: World) -> None:
    other = world.origin.add("memory://org/other:v1", {"f": b"z"})
    await world.core.resolve("memory://org/other:v1")
    artifact = await world.core.resolve(REFERENCE, other.digest)
    assert artifact.repo_id == "org/model"


async def test_a_bug_in_an_origin_is_answered(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(_: str) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(world.origin, "resolve", broken)
    session = world.connect("a")
    for request in range(2):
        world.core.receive(session, Resolve(request, REFERENCE))
        (failed,) = await told(session, ResolveFailed)
        assert isinstance(failed, ResolveFailed)
        assert failed.error.code == "internal"
        assert REFERENCE in failed.error.message


async def test_requests_of_one_agent_are_bounded(world: World) -> None:
    world.origin.answering.clear()
    session = world.connect("a")
    for request in range(RESOLVING_LIMIT + 1):
        world.core.receive(session, Resolve(request, f"memory://org/m:{request}"))
    (failed,) = await told(session, ResolveFailed)
    assert isinstance(failed, ResolveFailed)
    assert (failed.request, failed.error.code) == (RESOLVING_LIMIT, "share_used_up")
    world.origin.answering.set()


async def test_joining_brings_a_capability_for_this_node_alone(world: World) -> None:
    a = world.connect("a")
    world.core.receive(a, JoinTasks((TaskJoin(TASK, 8 * MIB, "o"),)))
    (joined,) = await told(a, TaskJoined)
    assert isinstance(joined, TaskJoined)
    opens = CapabilityChecker(a.welcome.capability_key, world.clock)
    assert opens(joined.capability, "a", TASK)
    assert not opens(joined.capability, "b", TASK)
    assert not opens(joined.capability, "a", Digest("sha256:" + "00" * 32))


async def test_a_lost_node_frees_its_leases(world: World) -> None:
    a, b = world.connect("a"), world.connect("b")
    join = JoinTasks((TaskJoin(TASK, 1, "o"),))
    for session in (a, b):
        world.core.receive(session, join)
        world.core.receive(session, LeaseRequest(TASK, 1))
    (lease,) = await told(a, LeaseGranted)
    assert isinstance(lease, LeaseGranted)
    world.core.disconnect(a, "gone")
    world.core.tick()
    (again,) = await told(b, LeaseGranted)
    assert isinstance(again, LeaseGranted)
    assert (again.start, again.count) == (lease.start, lease.count)
    world.core.receive(a, join)  # what still arrives from the dead session changes nothing
    assert world.watcher.seen == ["+a", "+b", "-a"]


@pytest.mark.parametrize(
    ("away", "meant", "kept"),
    [(60.0, True, True), (60.0, False, False), (math.nan, True, False), (-1.0, True, False), (0.0, True, False)],
)
async def test_only_who_was_told_to_restart_is_waited_for_and_for_a_time_that_is_one(
    world: World, away: float, meant: bool, kept: bool
) -> None:
    world.core.on_update = lambda _session, _progress: meant
    a, b = world.connect("a"), world.connect("b")
    for session in (a, b):
        world.core.receive(session, JoinTasks((TaskJoin(TASK, 1, "o"),)))
        world.core.receive(session, LeaseRequest(TASK, 1))
    await told(a, LeaseGranted)
    world.core.receive(a, UpdateProgress("r", "restarting", "0.1.0", away=away))
    world.core.disconnect(a, "gone")
    world.core.tick()
    world.core.send("b", ReportEvery(99.0))  # what follows all that it was told until now
    heard = [type(message) async for message in until(b, ReportEvery(99.0))]
    assert (LeaseGranted not in heard) == kept


async def test_a_newer_session_replaces_the_older(world: World) -> None:
    older = world.connect("a")
    newer = world.connect("a")
    assert older.outbox.closed == "replaced by a newer session of the same node"
    assert world.core.session("a") is newer
    world.core.disconnect(older, "late")  # its shell ends later and must not take the newer one along
    assert world.core.session("a") is newer
    assert world.watcher.seen == ["+a", "-a", "+a"]


async def test_of_two_agents_that_are_one_node_the_newer_stays(world: World) -> None:
    for instance in ("1", "2", "3"):
        world.core.connect(greeting("a", instance=instance))
    for older in ("1", "2", "1"):
        with pytest.raises(ControlPlaneRefused) as refused:
            world.core.connect(greeting("a", instance=older))
        assert "node-id" in refused.value.remedy
    newest = world.core.connect(greeting("a", instance="3"))  # its connection broke, and nobody noticed yet
    with pytest.raises(ControlPlaneRefused):
        world.core.connect(greeting("a", instance="1"))
    world.core.disconnect(newest, "gone")
    assert world.core.connect(greeting("a", instance="1")).outbox.closed is None


async def test_an_agent_that_is_started_again_and_again_takes_over(world: World) -> None:
    for instance in range(REMEMBERED + 100):
        session = world.core.connect(greeting("a", instance=str(instance)))
    assert world.core.session("a") is session
    assert len(session.took_over) == REMEMBERED


async def test_an_agent_that_does_not_read_is_dropped(world: World) -> None:
    stuck, silent = world.connect("stuck"), world.connect("silent")
    assert world.core.send("stuck", StartPull("p", REFERENCE))
    world.now += STUCK_AFTER + 1
    world.core.tick()
    assert stuck.outbox.closed == "the agent has not read anything for 31 seconds"
    assert silent.outbox.closed is None
    assert not world.core.send("stuck", StartPull("p", REFERENCE))


async def test_agents_report_as_often_as_their_number_allows(world: World) -> None:
    first = world.connect("first")
    assert first.welcome.report_interval == 0.25
    others = [world.connect(f"n{number}") for number in range(999)]
    for _ in range(8):
        world.core.tick()
    (slower,) = await told(first, ReportEvery)
    assert slower == ReportEvery(0.4)
    assert len(others[-1].outbox) == 0  # it was told in its greeting
    for session in others:
        world.core.disconnect(session, "gone")
    world.core.tick()
    assert await told(first, ReportEvery) == [ReportEvery(0.25)]


async def test_a_backlog_is_bounded(world: World) -> None:
    session = world.connect("a")
    for n in range(101):
        world.core.send("a", StartPull(f"p{n}", REFERENCE))
    assert session.outbox.closed == "the agent does not read: 100 messages wait for it"
    assert len(session.outbox) == 0
    session.outbox.put(StartPull("p", REFERENCE))
    assert len(session.outbox) == 0
    world.core.tick()
    assert world.core.session("a") is None


async def test_what_agents_say_of_themselves(world: World) -> None:
    session = world.connect("a")
    world.core.receive(session, Inventory((TASK,)))
    assert session.artifacts == {TASK}
    world.core.receive(session, PullProgress("p", "pulling"))
    assert world.watcher.seen == ["+a", "a pulling"]
    assert world.core.sessions == {"a": session}


@pytest.mark.parametrize(
    "hello",
    [
        greeting("a", PROTOCOL + 1),
        greeting("a", PROTOCOL - 1),
        greeting(""),
        greeting("n" * 300),
        greeting("a\0b"),
        greeting("a", labels={"x": "y" * 300}),
        greeting("a", labels={str(n): "" for n in range(MAX_LABELS + 1)}),
    ],
)
async def test_greetings_out_of_bounds(world: World, hello: Hello) -> None:
    with pytest.raises(ControlPlaneRefused) as refused:
        world.core.connect(hello)
    assert refused.value.remedy
    assert world.core.sessions == {}


@pytest.mark.parametrize(
    "join",
    [
        TaskJoin(Digest("sha256:short"), 1, "o"),
        TaskJoin(TASK, -1, "o"),
        TaskJoin(TASK, 1 << 60, "o"),
        TaskJoin(TASK, 1 << 40, "o", piece_size=1),
        TaskJoin(TASK, 1, "o", piece_size=-5),
        TaskJoin(TASK, 1, "o" * 1000),
        TaskJoin(TASK, 1, "o", digests=(PieceDigest(-1, bytes(32)),)),
        TaskJoin(TASK, 1, "o", digests=(PieceDigest(0, b"short"),)),
    ],
)
async def test_joins_out_of_bounds(world: World, join: TaskJoin) -> None:
    session = world.connect("a")
    with pytest.raises(ControlPlaneRefused):
        world.core.receive(session, JoinTasks((join,)))


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    "report",
    [
        *(Report(1, Load(nic_speed=speed)) for speed in (NAN, INF, -1.0, 1e300)),
        Report(1, Load(nic_tx=NAN)),
        Report(1, Load(cpu_busy=-0.5)),
        Report(1, Load(queue=-1)),
        *(
            Report(1, tasks=(TaskReport(TASK, parents=(ParentReport("b", **told),)),))  # type: ignore[arg-type]
            for told in (
                {"bytes": -1},
                {"bytes": 1 << 60},
                {"seconds": NAN},
                {"seconds": INF},
                {"seconds": -1.0},
                {"failures": -1},
                {"failures": 1 << 40},
                {"busy": -1},
            )
        ),
        Report(1, tasks=(TaskReport(TASK, have=b"x" * (1 << 20)),)),
        Report(1, tasks=(TaskReport(TASK, verified=(PieceDigest(0, b"short"),)),)),
        Report(1, tasks=(TaskReport(TASK, lease_bytes={1: -1}),)),
    ],
)
async def test_reports_that_cannot_be(world: World, report: Report) -> None:
    """Whoever says so is shown out and named, before the scheduler has heard of it."""
    session = world.connect("a")
    with pytest.raises(ControlPlaneRefused):
        world.core.receive(session, report)


async def test_a_broken_tick_does_not_stop_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    again = asyncio.Event()
    calls: list[Callable[[], None]] = []

    def tick() -> None:
        calls.append(tick)
        if len(calls) == 1:
            raise ZeroDivisionError
        again.set()

    monkeypatch.setattr(world.core, "tick", tick)
    ticking = asyncio.create_task(world.core.run_ticks(0.001))
    await asyncio.wait_for(again.wait(), 10)
    ticking.cancel()
    await asyncio.gather(ticking, return_exceptions=True)


def test_reports_get_rarer_as_agents_get_more() -> None:
    intervals = ReportIntervals()
    seconds = [intervals.of(agents) for agents in (1, 100, 1000, 5000, 50_000)]
    assert seconds == sorted(seconds)
    assert (seconds[0], seconds[-2], seconds[-1]) == (0.25, 2.0, 2.0)
