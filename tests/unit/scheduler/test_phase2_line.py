"""In a line: everything comes from the node before, and who falls behind it for no passing reason says so."""

from __future__ import annotations

import random

import pytest

from modeldist.artifact import Digest
from modeldist.scheduler.messages import Parent
from modeldist.scheduler.phase2 import Phase2, Phase2Config
from modeldist.scheduler.phase2 import messages as p2
from modeldist.scheduler.pieces import PieceLayout, PieceSet

TASK = Digest("sha256:" + "a" * 64)
LAYOUT = PieceLayout(2000 * 100, 100)
TICK = 0.1


class Node:
    """`before` gets `before_rate` pieces a second, and sends `rate`; `further` has all that `before` has."""

    def __init__(self) -> None:
        self.phase2 = Phase2(Phase2Config(min_pieces_in_flight=64), random.Random(1))
        self.now = 0.0
        self.before_rate = self.rate = 50.0
        self.before_has = self.has = 0.0
        self.asked: dict[str, list[int]] = {"before": [], "further": []}
        self.said: list[p2.TellBehind] = []
        self.tell(p2.TaskAdded(TASK, LAYOUT, PieceSet()))
        self.tell(p2.DigestsKnown(TASK, LAYOUT.all))
        self.take_from("before")

    def take_from(self, first: str) -> None:
        other = "further" if first == "before" else "before"
        parents = (Parent(first, f"{first}:1", b"", 2, 1), Parent(other, f"{other}:1", b"", 2, 0))
        self.tell(p2.ParentsChanged(TASK, parents, stripes=1))

    def tell(self, event: p2.Event) -> None:
        for instruction in self.phase2.handle(event, self.now):
            if isinstance(instruction, p2.Connect):
                self.tell(p2.ParentConnected(instruction.node))
            elif isinstance(instruction, p2.FetchFromPeer):
                self.asked[instruction.node].append(instruction.piece)
            elif isinstance(instruction, p2.TellBehind):
                self.said.append(instruction)

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / TICK)):
            self.now += TICK
            self.before_has = min(self.before_has + self.before_rate * TICK, LAYOUT.count)
            pieces = PieceSet.span(0, int(self.before_has))
            for node in self.asked:
                self.tell(p2.ParentHas(TASK, node, pieces))
            self.has += self.rate * TICK
            while self.has >= 1 and self.asked["before"]:
                self.has -= 1
                piece = self.asked["before"].pop(0)
                self.tell(p2.PieceFetched(TASK, piece, "before", 100, TICK))
                self.tell(p2.PieceVerified(TASK, piece))
            self.has = min(self.has, 1.0)
            self.tell(p2.Tick())


def test_everything_comes_from_the_node_before_and_nothing_is_said_while_it_keeps_up() -> None:
    node = Node()
    node.run(10.0)
    assert not node.asked["further"]
    assert not node.said


@pytest.mark.parametrize("rate", [12.0, 25.0])
def test_who_falls_behind_says_so_soon_and_asks_nobody_else(rate: float) -> None:
    node = Node()
    node.run(2.0)
    node.rate = rate
    node.run(1.2)
    assert node.said[0] == p2.TellBehind(TASK, "before")
    assert not node.asked["further"]


def test_a_moment_in_which_nothing_comes_is_not_worth_a_word() -> None:
    node = Node()
    for _ in range(5):
        node.run(2.0)
        node.rate = 0.0
        node.run(0.2)
        node.rate = 50.0
    assert not node.said


def test_who_catches_up_with_one_that_gets_nothing_new_is_not_behind() -> None:
    node = Node()
    node.before_has, node.before_rate, node.rate = 2000.0, 0.0, 5.0
    node.run(5.0)
    assert not node.said


def test_a_new_parent_has_time_to_serve_the_child_that_it_had_before() -> None:
    node = Node()
    node.run(1.0)
    node.take_from("further")
    node.take_from("before")
    node.rate = 10.0
    node.run(0.5)
    assert not node.said
    node.run(1.0)
    assert node.said


def test_if_the_node_before_is_lost_the_one_further_up_helps() -> None:
    node = Node()
    node.run(1.0)
    node.tell(p2.ParentLost("before", "connection reset"))
    node.run(0.3)
    assert node.asked["further"]
