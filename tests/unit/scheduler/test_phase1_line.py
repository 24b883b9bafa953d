"""Lines in phase 1: which swarms become one, who comes after whom, who reads, and when a line is over."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from modeldist.scheduler import messages as m
from modeldist.scheduler.phase1 import Phase1Config
from modeldist.scheduler.phase1.line import Line
from modeldist.scheduler.pieces import PieceSet
from tests.unit.scheduler.phase1_control import PIECE, TASK, Control
from tests.unit.scheduler.scheduler_world import digest

PIECES = 128
SIZE = PIECES * PIECE
NODES = ("a", "b", "c", "d", "e", "f")
NOWHERE = m.Location()


class Lined(Control):
    """`parents`: the candidates that each node was told last; `before`: from which of them it is to take everything."""

    def __init__(self, *nodes: str, config: Phase1Config | None = None) -> None:
        super().__init__(config or Phase1Config(restart_grace=0.0))
        self.parents: dict[str, list[str]] = {}
        self.before: dict[str, str | None] = {}
        self.enter(*nodes)

    def enter(self, *nodes: str) -> None:
        for node in nodes:
            self.join(node, size=SIZE)

    def take(self, told: list[tuple[str, m.Instruction]]) -> None:
        super().take(told)
        for node, instruction in told:
            if isinstance(instruction, m.Parents) and instruction.task == TASK:
                self.parents[node] = [parent.node for parent in instruction.parents]
                self.before[node] = next((parent.node for parent in instruction.parents if parent.stripes), None)
                assert instruction.stripes in (0, 1)

    def line(self) -> list[str]:
        """From the last to the first; empty where there is none."""
        last = set(self.before) - set(self.before.values())
        found: list[str] = []
        node = last.pop() if len(last) == 1 else None
        while node is not None:
            found.append(node)
            node = self.before.get(node)
        return found if len(found) > 1 else []


def lined_up(*nodes: str) -> Lined:
    control = Lined(*(nodes or NODES))
    control.wait(0.3)
    assert sorted(control.line()) == sorted(nodes or NODES)
    return control


def test_each_takes_everything_from_the_one_before_it_and_has_another_to_fall_back_upon() -> None:
    control = lined_up()
    *behind, second, first = control.line()
    assert control.parents[second] == [first]
    for index, node in enumerate(behind):
        assert control.parents[node] == control.line()[index + 1 : index + 3]
    assert set(control.parents[first]) == set(NODES) - {first}  # what they read before they were behind it


@pytest.mark.parametrize("lost", [1, 2, 5])
def test_who_follows_reads_on_when_the_session_of_the_first_breaks(lost: int) -> None:
    """As soon as that is known, even if the session of the next breaks with it. What the lost read is left to them."""
    control = lined_up()
    gone, line = control.line()[-lost:], control.line()[:-lost]
    for node in NODES:
        control.ask(node, PIECES)
    control.wait(0.1)
    before = control.leased(gone[-1])
    assert before
    for node in reversed(gone):
        control.take(control.phase1.node_lost(node, control.now))
    control.wait(0.1)
    readers = {node for node in NODES if control.leased(node)}
    assert readers == {gone[-1], line[-1]}
    assert control.leased(gone[-1]) == before and before.isdisjoint(control.leased(line[-1]))
    assert [node for node in control.line() if node in line] == line


def test_only_the_first_reads_on_a_few_streams() -> None:
    control = lined_up()
    for _ in range(20):
        for node in NODES:
            control.ask(node, PIECES)
        control.wait(0.1)
    readers = {node for node in NODES if control.leased(node)}
    assert readers == {control.line()[-1]}
    assert control.active() == Phase1Config().stripe_streams


def test_the_fourth_makes_a_line_before_anybody_has_asked_for_a_lease() -> None:
    control = Lined(*NODES[:3])
    assert not control.line()
    control.enter(NODES[3])
    assert control.line() == ["d", "c", "b", "a"]
    control.enter("e")
    assert control.line() == ["e", "d", "c", "b", "a"]
    for node in reversed(NODES[:5]):
        control.ask(node, PIECES)
    assert [node for node in NODES[:5] if control.leased(node)] == ["a"]


def test_who_joins_in_the_beginning_and_is_not_like_the_others_ends_the_line() -> None:
    control = Lined(*NODES[:5])
    assert control.line()
    one_that_wants_a_part(control)
    control.wait(0.3)
    assert not any(control.before.values())


def test_who_joins_later_is_the_last_whatever_it_holds() -> None:
    control = lined_up(*NODES[:5])
    control.wait(0.5)
    control.join("f", size=SIZE, have=PieceSet.span(0, 30).to_bytes())
    assert control.line() == ["f", *reversed(NODES[:5])]


def some_late(control: Lined) -> None:
    control.enter(*NODES[:3])
    control.wait(0.6)
    control.enter(*NODES[3:])


def one_that_serves_nobody(control: Lined) -> None:
    control.open("f", serves=False)
    control.enter(*NODES)


def one_that_wants_a_part(control: Lined) -> None:
    control.enter(*(node for node in NODES[:5] if node not in control.parents))
    control.join("f", size=SIZE, only=PieceSet.span(0, 64).to_bytes())


def one_that_holds_a_good_deal(control: Lined) -> None:
    control.enter(*NODES[:5])
    control.join("f", size=SIZE, have=PieceSet.span(0, 30).to_bytes())


def one_with_a_slower_link(control: Lined) -> None:
    control.enter(*NODES)
    for number, node in enumerate(NODES):
        control.say(node, m.Report(1, m.Load(nic_speed=1e9 if number else 1e8)))


def one_that_fetches_another_shard(control: Lined) -> None:
    control.enter(*NODES)
    control.join("f", digest(2), size=SIZE)


def too_few(control: Lined) -> None:
    control.enter(*NODES[:3])


def too_many(control: Lined) -> None:
    control.enter(*(f"n{number}" for number in range(Phase1Config().line_upto + 1)))


def too_small(control: Lined) -> None:
    for node in NODES:
        control.join(node, size=10 * PIECE)


@pytest.mark.parametrize(
    "enter",
    [
        some_late,
        one_that_serves_nobody,
        one_that_wants_a_part,
        one_that_holds_a_good_deal,
        one_with_a_slower_link,
        one_that_fetches_another_shard,
        too_few,
        too_many,
        too_small,
    ],
)
def test_no_line_of_nodes_that_are_not_equal(enter: Callable[[Lined], None]) -> None:
    control = Lined()
    enter(control)
    for _ in range(10):
        control.wait(0.3)
    assert not any(control.before.values())


def test_a_small_shard_beside_it_is_none_of_size() -> None:
    control = Lined(*NODES)
    for node in NODES:
        control.join(node, digest(2), size=10 * PIECE)
    for _ in range(5):
        control.wait(0.3)
    assert sum(before is not None for before in control.before.values()) == len(NODES) - 1


def test_whoever_comes_later_is_the_last() -> None:
    control = lined_up()
    control.wait(5.0)
    last = control.line()[0]
    control.enter("late")
    control.wait(0.3)
    assert control.line()[:2] == ["late", last]


def test_who_was_behind_a_node_that_leaves_is_behind_the_one_before_it() -> None:
    control = lined_up()
    before = control.line()
    control.take(control.phase1.node_left(before[2], control.now))
    del control.before[before[2]]
    control.wait(0.3)
    assert control.line() == [*before[:2], *before[3:]]


def test_if_the_first_leaves_the_next_reads() -> None:
    control = lined_up()
    *_, second, first = control.line()
    control.take(control.phase1.node_left(first, control.now))
    control.wait(0.3)
    for node in set(NODES) - {first}:
        control.ask(node, PIECES)
    assert {node for node in set(NODES) - {first} if control.leased(node)} == {second}


def test_if_the_first_cannot_read_another_does() -> None:
    control = lined_up()
    *_, second, first = control.line()
    control.ask(first, PIECES)
    (lease, *_) = control.heard(first, m.LeaseGranted)
    assert isinstance(lease, m.LeaseGranted)
    unread = PieceSet.span(lease.start, lease.count).to_bytes()
    control.say(first, m.LeaseFailed(TASK, lease.lease, unread, "403 Forbidden"))
    control.wait(0.3)
    assert control.line()[0] == first
    control.ask(second, PIECES)
    assert control.leased(second)


def test_a_line_is_over_when_a_node_falls_behind_the_one_before_it() -> None:
    control = lined_up()
    behind, before = control.line()[1:3]
    control.say(behind, m.Behind(TASK, before))
    for _ in range(10):
        control.wait(0.3)
    assert not any(control.before.values())  # and does not come back
    for node in NODES:
        control.ask(node, PIECES)
    assert all(control.leased(node) for node in NODES)


@pytest.mark.parametrize("said", [m.Behind(TASK, "a"), m.Behind(TASK, "nobody"), m.Behind(digest(9), "a")])
def test_what_was_said_of_another_order_changes_nothing(said: m.Behind) -> None:
    control = lined_up()
    line = control.line()
    for node in NODES:
        if control.before[node] != said.node:
            control.say(node, said)
    control.say("stranger", said)
    control.wait(0.3)
    assert control.line() == line


@pytest.mark.parametrize(("reads", "over"), [(10, True), (40, False)])
def test_a_line_is_over_if_the_first_reads_less_than_it_can_send(reads: int, over: bool) -> None:
    """`reads`: pieces per second; it sends 40 while it sends."""
    control = lined_up()
    *_, second, first = control.line()
    for step in range(1, 9):
        have = PieceSet.span(0, reads * step // 4).to_bytes()
        control.report(first, m.TaskReport(TASK, have=have))
        served = m.ParentReport(first, reads * PIECE // 4, reads / 4 / 40)
        control.report(second, m.TaskReport(TASK, parents=(served,)))
        control.wait(0.25)
    assert bool(control.line()) != over


def test_a_line_enters_each_zone_and_each_rack_once() -> None:
    line = Line()
    for number in range(24):
        zone = f"z{number % 2}"
        line.add(f"n{number}", m.Location(f"{zone}-r{number % 3}", zone))
    line.plan()
    places = [(int(node[1:]) % 2, int(node[1:]) % 3) for node in line.near]
    assert sum(a != b for a, b in pairwise(places)) == 5
    assert sum(a[0] != b[0] for a, b in pairwise(places)) == 1


def test_nobody_is_behind_one_that_cannot_send() -> None:
    line = Line()
    for node in "abcdef":
        line.add(node, NOWHERE, leaf=node in "ac")
    line.plan()
    assert line.roots == ["b"]
    assert line.upstream("a") == line.upstream("c") == ("f",)
    for node in "bdf":
        line.remove(node)
    line.plan()
    assert (line.roots, line.upstream("a")) == (["e"], ("e",))
    line.remove("e")
    line.plan()
    assert line.roots_at("a") == line.roots_at("c") == (0,)
