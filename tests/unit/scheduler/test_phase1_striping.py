"""Striped swarms in phase 1: who reads from the origin, and who is judged too slow to have children."""

from __future__ import annotations

import pytest

from modeldist.scheduler import messages as m
from modeldist.scheduler.phase1 import Phase1Config
from modeldist.scheduler.pieces import PieceSet
from tests.unit.scheduler.phase1_control import PIECE, TASK, Control
from tests.unit.scheduler.scheduler_world import digest

PIECES = 96
NODES = tuple(f"n{number}" for number in range(24))
RATE = 1e9  # bytes/s
CONFIG = Phase1Config(stripe_from=8, restart_grace=0.0)


class Striped(Control):
    """`NODES` in striped swarms of `tasks`; `upstream`: each node's parents by stripe, as it was told last."""

    def __init__(self, *tasks: m.Digest) -> None:
        super().__init__(CONFIG)
        self.tasks = tasks or (TASK,)
        self.upstream: dict[tuple[str, m.Digest], dict[int, str]] = {}
        for task in self.tasks:
            for node in NODES:
                self.join(node, task, size=PIECES * PIECE)
        self.wait(1.0)

    def take(self, told: list[tuple[str, m.Instruction]]) -> None:
        super().take(told)
        for node, instruction in told:
            if isinstance(instruction, m.Parents):
                self.upstream[node, instruction.task] = {
                    stripe: parent.node
                    for parent in instruction.parents
                    for stripe in range(instruction.stripes)
                    if parent.stripes >> stripe & 1
                }

    def roots(self) -> list[str]:
        return [node for node in NODES if len(self.upstream[node, TASK]) < CONFIG.fanout]

    def children(self, node: str, task: m.Digest) -> int:
        return sum(node in upstream.values() for (_, of), upstream in self.upstream.items() if of == task)

    def measure(self, seconds: int, rates: dict[str, float], speeds: dict[str, float]) -> None:
        """Every node reports what its parents serve, and its own line rate."""
        for _ in range(seconds):
            for node in NODES:
                reports = []
                for task in self.tasks:
                    parents = dict.fromkeys(self.upstream[node, task].values())
                    served = (m.ParentReport(parent, int(rates.get(parent, RATE)), 1.0) for parent in parents)
                    reports.append(m.TaskReport(task, parents=tuple(served)))
                self.seq += 1
                self.say(node, m.Report(self.seq, m.Load(nic_speed=speeds.get(node, RATE)), tuple(reports)))
            for _ in range(10):
                self.wait(0.1)


def test_only_roots_read() -> None:
    control = Striped()
    for node in NODES:
        control.ask(node, PIECES)
    readers = [node for node in NODES if control.heard(node, m.LeaseGranted)]
    assert readers
    assert set(readers) <= set(control.roots())


def test_whoever_finds_the_shard_wrong_reads_it_alone_though_it_is_no_root() -> None:
    control = Striped()
    control.report(NODES[0], m.TaskReport(TASK, have=PieceSet.full(PIECES).to_bytes()))
    finder = next(node for node in NODES if node not in control.roots())
    control.wait(5.0)
    control.say(finder, m.ShardRejected(TASK))
    for node in NODES:
        control.ask(node, PIECES)
    control.wait(0.1)
    assert [node for node in NODES if control.heard(node, m.LeaseGranted)] == [finder]


@pytest.mark.parametrize("by", ["line rate", "what its children measure"])
def test_a_slow_node_loses_its_children_in_every_swarm(by: str) -> None:
    control = Striped(TASK, digest(2))
    slow = next(node for node in NODES if all(control.children(node, task) for task in control.tasks))
    found = {slow: RATE / 5}
    control.measure(8, *({}, found) if by == "line rate" else (found, {}))
    assert not any(control.children(slow, task) for task in control.tasks)


def test_pieces_without_a_digest_are_read_by_somebody_when_the_roots_have_all() -> None:
    control = Striped()
    roots = control.roots()
    for root in roots:
        control.report(root, m.TaskReport(TASK, have=PieceSet.full(PIECES).to_bytes()))
    for node in NODES:
        if node not in roots:
            control.ask(node, PIECES)
    control.wait(1.0)
    assert not any(control.heard(node, m.LeaseGranted) for node in NODES)
    for _ in range(20):
        control.wait(0.1)
    assert any(control.heard(node, m.LeaseGranted) for node in NODES)
