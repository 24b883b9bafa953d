"""Who asks is answered in the same call, however large the swarm: a pull waits for this."""

from __future__ import annotations

import random

import pytest

from modeldist.artifact import Digest
from modeldist.scheduler.messages import JoinTasks, LeaseGranted, LeaseRequest, Location, Parents, TaskJoin, TaskJoined
from modeldist.scheduler.phase1 import Phase1, Phase1Config
from modeldist.scheduler.pieces import PieceSet

TASK = Digest("sha256:" + "a" * 64)
SIZE = 64 << 20


def swarm(members: int, holders: int) -> Phase1:
    phase1 = Phase1(Phase1Config(restart_grace=0), random.Random(1))
    for number in range(members):
        node, now = f"n{number}", number / 1000
        phase1.node_joined(node, "10.0.0.1:1", Location(f"r{number // 16}", "z"), now)
        have = PieceSet.full(256).to_bytes() if number < holders else b""
        phase1.handle(node, JoinTasks((TaskJoin(TASK, SIZE, "o", have, seed_only=bool(have)),)), now)
    for tenth in range(100):
        phase1.tick(10 + tenth / 10)
    return phase1


@pytest.mark.parametrize("members", [20, 100, 600])
def test_a_joiner_is_told_parents_at_once(members: int) -> None:
    phase1 = swarm(members, holders=members // 3)
    phase1.node_joined("new", "10.0.0.2:1", Location("r0", "z"), 30.0)
    told = phase1.handle("new", JoinTasks((TaskJoin(TASK, SIZE, "o"),)), 30.0)
    answers = {type(instruction): instruction for node, instruction in told if node == "new"}
    assert isinstance(answers[TaskJoined], TaskJoined)
    parents = answers[Parents]
    assert isinstance(parents, Parents)
    assert len(parents.parents) >= 8
    assert any(PieceSet.from_bytes(parent.have) for parent in parents.parents)


def test_the_first_of_a_swarm_gets_its_lease_at_once() -> None:
    phase1 = swarm(100, holders=0)
    other = Digest("sha256:" + "b" * 64)
    phase1.handle("n7", JoinTasks((TaskJoin(other, SIZE, "p"),)), 30.0)
    told = phase1.handle("n7", LeaseRequest(other, 4), 30.0)
    assert any(node == "n7" and isinstance(instruction, LeaseGranted) for node, instruction in told)
