"""What the core remembers for traces, with real phase 1 and rooms."""

from __future__ import annotations

import random

from modeldist.artifact import Digest
from modeldist.control.admission.rooms import Ceilings, Rooms
from modeldist.control.resolver import MemoryCatalogue, Resolver
from modeldist.control.traced_core import TracedCore
from modeldist.scheduler.messages import JoinTasks, LeaveTasks, Load, Report, TaskJoin
from modeldist.scheduler.phase1 import Phase1, Phase1Config
from modeldist.session.messages import PROTOCOL, Hello
from tests.servers.memory_origin import MemoryOrigin

TRACE = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
TASKS = [Digest(f"sha256:{number:064x}") for number in range(1, 100)]


def core(rooms: Rooms | None = None) -> TracedCore:
    def clock() -> float:
        return 1000.0

    return TracedCore(
        scheduler=Phase1(Phase1Config(restart_grace=0.0), random.Random(1)),
        resolver=Resolver(MemoryOrigin(), MemoryCatalogue(), clock),
        clock=clock,
        rooms=rooms,
    )


def joining(size: int) -> JoinTasks:
    return JoinTasks(tuple(TaskJoin(task, size, "o", trace=TRACE) for task in TASKS))


def hello(node: str) -> Hello:
    return Hello(PROTOCOL, node, node, "0.1.0", "10.0.0.1:7421")


async def test_what_nodes_fetch_is_remembered_until_they_leave_it_or_go() -> None:
    traced = core()
    session = traced.connect(hello("a"))
    traced.receive(session, joining(1))
    assert traced.traced == len(TASKS)
    traced.receive(session, LeaveTasks((TASKS[0],)))
    assert traced.traced == len(TASKS) - 1
    traced.disconnect(session, "gone")
    assert traced.traced == 0


async def test_tasks_that_a_node_is_not_let_into_are_forgotten() -> None:
    traced = core()
    first, other = traced.connect(hello("a")), traced.connect(hello("b"))
    traced.receive(first, joining(1))
    traced.receive(other, joining(2))  # of another size: refused, each of them
    assert traced.traced == len(TASKS)


async def test_tasks_that_there_is_no_room_for_are_not_remembered() -> None:
    traced = core(Rooms(Ceilings(held=100_000)))
    session = traced.connect(hello("a"))
    traced.receive(session, Report(1, Load()))  # that was all it brought along
    traced.receive(session, joining(1))
    assert 0 < traced.traced < len(TASKS)
