"""A striped task on one node: each stripe from its parent, and from anyone when that one fails."""

from __future__ import annotations

import random

import pytest

from modeldist.artifact import Digest
from modeldist.scheduler.messages import Parent
from modeldist.scheduler.phase2 import Phase2, Phase2Config
from modeldist.scheduler.phase2 import messages as p2
from modeldist.scheduler.pieces import PieceLayout, PieceSet, stripe, stripe_of

TASK = Digest("sha256:" + "a" * 64)
LAYOUT = PieceLayout(48 * 100, 100)
ALL = LAYOUT.all.to_bytes()
A, B, SPARE = Parent("a", "a:1", ALL, 2, 1), Parent("b", "b:1", ALL, 2, 2), Parent("c", "c:1", ALL, 2, 0)


class Node:
    def __init__(self, *parents: Parent) -> None:
        self.phase2 = Phase2(Phase2Config(min_pieces_in_flight=64), random.Random(1))
        self.now = 0.0
        self.connected: list[str] = []
        self.fetching: list[tuple[int, str]] = []
        self.tell(p2.TaskAdded(TASK, LAYOUT, PieceSet()))
        self.tell(p2.ParentsChanged(TASK, parents, stripes=2))
        self.tell(p2.DigestsKnown(TASK, LAYOUT.all))

    def tell(self, event: p2.Event) -> None:
        for instruction in self.phase2.handle(event, self.now):
            if isinstance(instruction, p2.Connect):
                self.connected.append(instruction.node)
                self.tell(p2.ParentConnected(instruction.node))
            elif isinstance(instruction, p2.FetchFromPeer):
                self.fetching.append((instruction.piece, instruction.node))

    def arrive(self) -> tuple[int, str]:
        piece, node = self.fetching.pop(0)
        self.now += 0.01
        self.tell(p2.PieceFetched(TASK, piece, node, 100, 0.01))
        self.tell(p2.PieceVerified(TASK, piece))
        return piece, node


def test_stripes_are_runs_that_take_turns_and_end_together() -> None:
    stripes = [stripe_of(piece, 3, 18) for piece in range(18)]
    assert stripes == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 0, 1, 2, 0, 1, 2]
    assert stripe(1, 3, 18) == 0b010010000011110000
    for total in range(64, 90):
        sizes = [stripe(index, 3, total).bit_count() for index in range(3)]
        assert sum(sizes) == total
        assert max(sizes) - min(sizes) <= 1
    assert stripe(0, 2, 48) ^ stripe(1, 2, 48) == LAYOUT.all.bits


def test_each_stripe_comes_from_its_parent_and_others_are_not_even_called() -> None:
    node = Node(A, B, SPARE)
    while node.fetching:
        piece, parent = node.arrive()
        assert parent == "ab"[stripe_of(piece, 2, 48)]
    assert sorted(node.connected) == ["a", "b"]


def test_a_parent_that_is_lost_is_replaced_by_anyone() -> None:
    node = Node(A, B, SPARE)
    node.tell(p2.ParentLost("a", "gone"))
    node.fetching = [(piece, parent) for piece, parent in node.fetching if parent != "a"]
    node.now = 0.1
    node.tell(p2.Tick())
    assert "c" in node.connected
    came = set()
    for _ in range(400):
        if not node.fetching:
            break
        piece, parent = node.arrive()
        came.add((stripe_of(piece, 2, 48), parent))
        node.tell(p2.Tick())
    assert (0, "c") in came
    assert (0, "a") not in came
    assert node.phase2.bytes_in_flight == 0


def test_a_parent_that_has_much_and_sends_little_is_helped() -> None:
    node = Node(A, B, SPARE)
    node.now = 0.5
    node.tell(p2.Tick())
    assert "c" in node.connected
    assert any(parent == "c" for _, parent in node.fetching)
    assert sum(parent == "c" for _, parent in node.fetching) <= 2


@pytest.mark.parametrize("own", [0, 1])
def test_a_stripe_of_no_parent_may_come_from_anyone(own: int) -> None:
    other = Parent("o", "o:1", ALL, 2, 1 << (1 - own))
    node = Node(other, SPARE)
    assert sorted(node.connected) == ["c", "o"]
    assert any(stripe_of(piece, 2, 48) == own for piece, _ in node.fetching)
