"""Phase 1 as nodes speak to it, with short names for what they say."""

from __future__ import annotations

import random

from modeldist.scheduler import messages as m
from modeldist.scheduler.phase1 import OriginLimits, Phase1, Phase1Config
from tests.unit.scheduler.scheduler_world import blake3_of, digest

TASK = digest(1)
PIECE = 1 << 20


class Control:
    """Phase 1 with short names for what nodes say."""

    def __init__(self, config: Phase1Config | None = None) -> None:
        self.phase1 = Phase1(config or Phase1Config(restart_grace=0.0), random.Random(1))
        self.now = 0.0
        self.seq = 0
        self.told: list[tuple[str, m.Instruction]] = []

    def open(self, node: str, *, serves: bool = True) -> None:
        self.take(self.phase1.node_joined(node, f"{node}:1" if serves else "", m.Location(), self.now))

    def join(
        self, node: str, task: m.Digest = TASK, size: int = 10 * PIECE, have: bytes = b"", **fields: object
    ) -> None:
        if node not in {view.node for view in self.phase1.nodes(self.now)}:
            self.open(node)
        priority = fields.pop("priority", m.Priority.PULL)
        join = m.TaskJoin(task, size, "origin", have, piece_size=PIECE, **fields)  # type: ignore[arg-type]
        self.say(node, m.JoinTasks((join,), priority))  # type: ignore[arg-type]

    def ask(self, node: str, pieces: int = 10, task: m.Digest = TASK) -> None:
        self.say(node, m.LeaseRequest(task, pieces))

    def verified(self, node: str, *pieces: int, task: m.Digest = TASK) -> None:
        told = tuple(m.PieceDigest(piece, blake3_of(piece)) for piece in pieces)
        self.report(node, m.TaskReport(task, verified=told))

    def report(self, node: str, *reports: m.TaskReport) -> None:
        self.seq += 1
        self.say(node, m.Report(self.seq, tasks=reports))

    def say(self, node: str, event: m.Event) -> None:
        self.take(self.phase1.handle(node, event, self.now))

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.take(self.phase1.tick(self.now))

    def take(self, told: list[tuple[str, m.Instruction]]) -> None:
        self.told += told

    def heard(self, node: str, kind: type) -> list[m.Instruction]:
        """What a node was told since this was last asked."""
        found = [instruction for name, instruction in self.told if name == node and isinstance(instruction, kind)]
        self.told = [entry for entry in self.told if entry[0] != node or not isinstance(entry[1], kind)]
        return found

    def leased(self, node: str) -> set[int]:
        view = self.phase1.task(TASK, self.now)
        assert view is not None
        return {piece for lease in view.leases if lease.node == node for piece in lease.unread}

    def active(self) -> int:
        tasks = [self.phase1.task(task, self.now) for task in self.phase1.tasks()]
        return sum(not lease.after for task in tasks if task is not None for lease in task.leases)


def held(control: Control) -> set[int]:
    view = control.phase1.task(TASK, control.now)
    assert view is not None
    return set(view.held)


def read_from_origin(control: Control) -> int:
    view = control.phase1.task(TASK, control.now)
    assert view is not None
    return view.origin_bytes


def limits(**fields: object) -> Phase1Config:
    """No lines: who reads what when all may."""
    return Phase1Config(default_origin=OriginLimits(**fields), restart_grace=0.0, line_upto=0)  # type: ignore[arg-type]
