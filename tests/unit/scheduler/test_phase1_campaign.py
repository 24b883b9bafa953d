"""What phase 1 makes of measured links: who is slow, who is not, and how long that counts."""

from __future__ import annotations

import random
from itertools import combinations

import pytest

from modeldist.scheduler import messages as m
from modeldist.scheduler.pieces import PieceSet
from tests.unit.scheduler.measured_links import MB, Measured
from tests.unit.scheduler.phase1_control import PIECE, TASK
from tests.unit.scheduler.scheduler_world import digest
from tests.unit.scheduler.test_phase1_line import NODES, PIECES


@pytest.mark.parametrize(("up", "down"), [("b", "a"), ("a", "f"), ("f", "e"), ("c", "d")])
def test_a_first_pull_has_the_slow_ones_last(up: str, down: str) -> None:
    control = Measured(sends={up: 25.0}, receives={down: 25.0}).settle()
    assert control.view(up).link_sends == control.view(down).link_receives == 25 * MB
    control.pull()
    assert control.line()[:2] == [down, up]
    assert sorted(control.line()) == sorted(NODES)


def test_who_sends_and_receives_slowly_is_behind_who_only_sends_slowly() -> None:
    control = Measured(sends={"a": 25.0, "c": 25.0}, receives={"a": 25.0}).settle()
    control.pull()
    assert control.line()[:2] == ["a", "c"]
    assert control.view("a").link_sends == control.view("a").link_receives == 25 * MB


@pytest.mark.parametrize("pair", [*combinations("abcdef", 2)])
def test_a_node_is_not_slow_because_two_others_are(pair: tuple[str, str]) -> None:
    control = Measured(receives=dict.fromkeys(pair, 10.0)).settle()
    for node in NODES:
        assert control.view(node).link_sends == 100 * MB
        assert control.view(node).link_receives == (10 if node in pair else 100) * MB
    control.pull()
    assert set(control.line()[:2]) == set(pair)


@pytest.mark.parametrize(("count", "slow"), [(4, 1), (5, 2), (6, 2), (7, 2), (8, 3), (16, 5), (20, 8)])
@pytest.mark.parametrize("order", range(10))
@pytest.mark.parametrize("both", [True, False], ids=["both ways", "receiving"])
def test_up_to_four_of_ten_slow_ones_are_found_and_nobody_else(
    count: int, slow: int, order: int, *, both: bool
) -> None:
    nodes = [f"n{index}" for index in range(count)]
    random.Random(order).shuffle(nodes)
    slower = dict.fromkeys(nodes[:slow], 25.0)
    control = Measured(*sorted(nodes), sends=slower if both else {}, receives=slower).settle()
    control.enter(*sorted(nodes))
    control.wait(0.3)
    assert set(control.line()[:slow]) == set(slower)
    for node in nodes:
        assert control.view(node).link_receives == (25 if node in slower else 100) * MB
        assert control.view(node).link_sends == (25 if node in slower and both else 100) * MB


def test_a_rack_is_compared_with_itself() -> None:
    racks = {node: "fast" if node < "e" else "slow" for node in "abcdefgh"}
    control = Measured(*racks, racks=racks, sends=dict.fromkeys("efgh", 10.0)).settle()
    control.enter(*racks)
    control.wait(0.3)
    assert sorted(control.line()) == sorted(racks)


def test_who_could_be_measured_by_nobody_is_not_slow() -> None:
    class Unreachable(Measured):
        def rate(self, parent: str, child: str) -> float | None:
            return None if parent == "b" else super().rate(parent, child)

    control = Unreachable().settle()
    assert control.view("b").link_sends is None and control.view("b").link_receives == 100 * MB
    control.pull()
    assert sorted(control.line()) == sorted(NODES)


def test_an_answer_counts_from_who_was_asked_and_once() -> None:
    control = Measured()
    control.silent.update(NODES)
    while not control.asked:
        control.wait(0.1)
    (parent, child), number = control.asked[0], control.numbers[0]
    other = next(node for node in NODES if node not in (parent, child))
    control.say(other, m.Measured(number, 999 * MB))
    control.say(child, m.Measured(number, 50 * MB))
    control.say(child, m.Measured(number, 999 * MB))
    control.say(child, m.Measured(10**9, 999 * MB))
    control.settle(20.0)
    assert control.view(parent).link_sends == control.view(child).link_receives == 50 * MB
    assert control.view(other).link_sends is None


@pytest.mark.parametrize("count", [4, 5, 6, 8])
@pytest.mark.parametrize("liar", range(4))
@pytest.mark.parametrize("lie", [9.9e11, 1.0])
def test_a_liar_makes_nobody_else_slow(count: int, liar: int, lie: float) -> None:
    nodes = [f"n{index}" for index in range(count)]

    class Lying(Measured):
        def rate(self, parent: str, child: str) -> float | None:
            return lie if child == nodes[liar] else super().rate(parent, child)

    control = Lying(*nodes).settle()
    control.enter(*nodes)
    control.wait(0.3)
    assert sorted(control.line()) == nodes
    assert lie > 1 or control.line()[0] == nodes[liar]


@pytest.mark.parametrize("order", range(20))
def test_two_nodes_on_one_machine_make_nobody_else_slow(order: int) -> None:
    """Between them there is no wire."""

    class OnHosts(Measured):
        def rate(self, parent: str, child: str) -> float | None:
            return 1000 * MB if parent[1] == child[1] else super().rate(parent, child)

    nodes = [f"{guest}{host}" for host in range(4) for guest in "ab"]
    random.Random(order).shuffle(nodes)
    control = OnHosts(*nodes).settle()
    control.enter(*nodes)
    control.wait(0.3)
    assert sorted(control.line()) == sorted(nodes)


def test_a_measurement_that_says_nothing_takes_nothing_back() -> None:
    control = Measured(sends={"b": 25.0}).settle()
    control.settle(661.0)
    before = control.view("b").link_age
    assert before is not None and before < 10
    control.silent.update(NODES)
    control.settle(610.0)
    assert control.view("b").link_sends == 25 * MB
    control.silent.clear()
    control.pull()
    assert control.line()[0] == "b"


def test_what_is_only_known_of_one_direction_leaves_the_other_as_it_was() -> None:
    """And as old as it was."""

    class NobodyHears(Measured):
        deaf = False

        def rate(self, parent: str, child: str) -> float | None:
            return None if self.deaf and parent == "b" else super().rate(parent, child)

    control = NobodyHears(sends={"b": 25.0})
    control.settle()
    control.deaf = True
    control.settle(1900.0)
    view = control.view("b")
    assert view.link_sends == 25 * MB and view.link_receives == 100 * MB
    assert view.link_age is not None and view.link_age > 1800
    control.pull()
    assert control.line()[0] == "b"
    for node in NODES:
        control.say(node, m.LeaveTasks((TASK,)))
    control.before.clear()
    control.settle(1900.0)
    control.pull()
    assert control.line()[0] != "b" and sorted(control.line()) == sorted(NODES)


def test_an_answer_that_comes_a_round_late_does_not_count() -> None:
    control = Measured()
    control.silent.add("b")
    while not control.asked:
        control.wait(0.1)
    late = control.numbers[[child for _, child in control.asked].index("b")]
    control.settle(4.5)
    control.say("b", m.Measured(late, 50 * MB))
    control.settle()
    assert control.view("b").link_receives is None


def test_a_good_link_does_not_make_up_for_a_slow_disk() -> None:
    """What a swarm shows of a node since counts more than its link, and so does a swarm that shows it to be well."""
    control = Measured(sends={"b": 25.0}).settle()
    control.pull()
    assert control.line()[0] == "b"
    for node in NODES:
        control.say(node, m.LeaveTasks((TASK,)))
    swarm_shows(control, slow="c")
    control.pull()
    assert control.line()[0] == "c"


def test_what_was_measured_before_a_swarm_showed_otherwise_does_not_come_back() -> None:
    """Also when it is forgotten what the swarm showed, as where there is never a quiet moment."""
    control = Measured(sends={"b": 25.0}).settle()
    swarm_shows(control, slow="c")
    control.join("busy", task=digest(9), size=2 * PIECE)
    control.settle(700.0)
    control.pull()
    assert sorted(control.line()) == sorted(NODES)
    assert control.line()[0] != "b"


def swarm_shows(control: Measured, slow: str) -> None:
    """A swarm without order, in which all but `slow` send as they should."""
    control.parents.clear()
    control.before.clear()
    control.pull()
    control.say(control.line()[1], m.Behind(TASK, control.line()[2]))
    control.wait(0.3)
    assert not control.line()
    for step in range(1, 13):
        for node in NODES:
            have = PieceSet.span(0, PIECES * step // 12)
            served = tuple(
                m.ParentReport(parent, int((0.25 if parent == slow else 1.0) * MB), 0.5)
                for parent in control.parents[node]
            )
            control.report(node, m.TaskReport(TASK, have=have.to_bytes(), parents=served))
        control.wait(0.5)
    for node in NODES:
        control.say(node, m.LeaveTasks((TASK,)))
    control.parents.clear()
    control.before.clear()
