"""What phase 1 learns of slow nodes while a swarm has no order, and where they stand in the lines after it."""

from __future__ import annotations

import pytest

from modeldist.scheduler import messages as m
from modeldist.scheduler.pieces import PieceSet
from tests.unit.scheduler.phase1_control import PIECE, TASK
from tests.unit.scheduler.scheduler_world import digest
from tests.unit.scheduler.test_phase1_line import NODES, PIECES, SIZE, Lined, lined_up

ALL = PieceSet.span(0, PIECES).to_bytes()


def over(control: Lined) -> Lined:
    """Some node falls behind: all exchange freely."""
    behind, before = control.line()[1:3]
    control.say(behind, m.Behind(TASK, before))
    control.wait(0.3)
    assert not control.line()
    return control


def pulled(control: Lined, *, sends: dict[str, float], receives: dict[str, float], seconds: float = 6.0) -> Lined:
    """All get the shard and measure whom they get it from, at such parts of the usual rate, until but for the slow ones
    they are complete; then nobody has anything to do with it any more."""
    steps = int(seconds / 0.5)
    for step in range(1, steps + 1):
        for node in NODES:
            have = PieceSet.span(0, int(PIECES * step / steps * receives.get(node, 1.0)))
            served = tuple(
                m.ParentReport(parent, int(PIECE * sends.get(parent, 1.0)), 0.5) for parent in control.parents[node]
            )
            control.report(node, m.TaskReport(TASK, have=have.to_bytes(), parents=served))
        control.wait(0.5)
    for node in NODES:
        control.say(node, m.LeaveTasks((TASK,)))
    return again(control)


def again(control: Lined) -> Lined:
    """All begin from nothing."""
    control.parents.clear()
    control.before.clear()
    control.enter(*NODES)
    control.wait(0.3)
    return control


def stragglers(up: str = "b", down: str = "a") -> Lined:
    return pulled(over(lined_up()), sends={up: 0.25}, receives={down: 0.25})


@pytest.mark.parametrize(("up", "down"), [("b", "a"), ("a", "f"), ("f", "e")])
def test_who_sent_slowly_and_who_received_slowly_are_last_in_this_order(up: str, down: str) -> None:
    control = stragglers(up, down)
    assert control.line()[:2] == [down, up]
    assert control.line()[:1:-1] == [node for node in NODES if node not in (up, down)]


def test_who_receives_slowly_does_not_end_the_line_again_but_another_does() -> None:
    control = stragglers()
    last, slow, before, *_ = control.line()
    control.say(last, m.Behind(TASK, slow))
    control.wait(0.3)
    assert control.line()
    control.say(slow, m.Behind(TASK, before))
    control.wait(0.3)
    assert not control.line()


def test_of_several_who_received_slowly_the_slowest_is_last() -> None:
    control = pulled(over(lined_up()), sends={"c": 0.5}, receives={"b": 0.25, "e": 0.5, "d": 0.3})
    assert control.line()[:4] == ["b", "d", "e", "c"]


def test_nobody_stands_behind_one_who_sends_less_than_it_can_take() -> None:
    control = pulled(over(lined_up()), sends={"b": 0.25}, receives={"a": 0.5})
    assert not control.line()


def test_two_who_sent_slowly_leave_no_line() -> None:
    """The second would have no more than the first sends."""
    control = pulled(over(lined_up()), sends={"a": 0.25, "b": 0.25}, receives={})
    assert not control.line()


@pytest.mark.parametrize(("brings", "stays"), [(0, False), (40, True)])
def test_one_who_comes_later_ends_the_line_if_the_slow_ones_would_wait_for_it(brings: int, stays: bool) -> None:
    control = stragglers()
    control.report("b", m.TaskReport(TASK, have=PieceSet.span(0, 40).to_bytes()))
    control.wait(1.0)
    control.join("g", size=SIZE, have=PieceSet.span(0, brings).to_bytes())
    control.wait(0.3)
    assert bool(control.line()) == stays


@pytest.mark.parametrize("fields", [{"only": PieceSet.span(0, 4).to_bytes()}, {"have": ALL, "seed_only": True}])
def test_one_who_comes_later_and_before_nobody_changes_nothing(fields: dict[str, object]) -> None:
    control = stragglers()
    control.report("b", m.TaskReport(TASK, have=PieceSet.span(0, 40).to_bytes()))
    control.wait(1.0)
    control.join("g", size=SIZE, **fields)  # type: ignore[arg-type]
    control.wait(0.3)
    assert control.before["a"] == "b"


def test_nobody_waits_for_those_whose_sessions_broke() -> None:
    control = stragglers()
    for node in "ef":
        control.take(control.phase1.node_away(node, 60.0, control.now))
    control.wait(0.3)
    assert control.line() == ["f", "e", "a", "b", "d", "c"]


@pytest.mark.parametrize(("has", "stays"), [(4, False), (30, True)])
def test_who_receives_even_less_than_before_may_have_a_parent_that_sends_nothing(has: int, stays: bool) -> None:
    control = stragglers()
    last, slow, *_ = control.line()
    for node, pieces in (("c", PIECES), (last, has)):
        control.report(node, m.TaskReport(TASK, have=PieceSet.span(0, pieces).to_bytes()))
    control.say(last, m.Behind(TASK, slow))
    control.wait(0.3)
    assert bool(control.line()) == stays


def test_there_is_no_line_through_racks_with_a_slow_node() -> None:
    control = stragglers()
    for node in NODES:
        control.say(node, m.LeaveTasks((TASK,)))
        rack = m.Location("r1" if node in "abc" else "r2")
        control.take(control.phase1.node_joined(node, f"{node}:1", rack, control.now))
    assert not again(control).line()


@pytest.mark.parametrize("lost", [False, True])
def test_it_is_forgotten_after_ten_minutes_and_not_with_a_session(lost: bool) -> None:
    control = stragglers()
    if lost:
        for node in NODES:
            control.take(control.phase1.node_joined(node, f"{node}:1", m.Location(), control.now))
        assert again(control).line()[:2] == ["a", "b"]
    for node in NODES:
        control.say(node, m.LeaveTasks((TASK,)))
    control.now += 601.0
    assert again(control).line() == list(reversed(NODES))


def test_the_next_swarm_without_an_order_may_show_otherwise() -> None:
    control = stragglers()
    _, slow, before, *_ = control.line()
    control.say(slow, m.Behind(TASK, before))
    control.wait(0.3)
    pulled(control, sends={}, receives={})
    assert control.line() == list(reversed(NODES))


@pytest.mark.parametrize("seconds", [1.0, 2.0])
def test_a_swarm_that_is_over_in_a_moment_shows_nothing(seconds: float) -> None:
    control = pulled(over(lined_up()), sends={"b": 0.25}, receives={"a": 0.25}, seconds=seconds)
    assert control.line() == list(reversed(NODES))


@pytest.mark.parametrize("complete", [False, True])
def test_a_swarm_beside_another_shows_nothing(complete: bool) -> None:
    """Who has little of this shard may have much of the other."""
    control = over(lined_up())
    for node in NODES:
        control.join(node, digest(2), SIZE)
    if complete:
        for node in NODES:
            control.report(node, m.TaskReport(digest(2), have=PieceSet.span(0, PIECES).to_bytes()))
    pulled(control, sends={"b": 0.25}, receives={"a": 0.25})
    for node in NODES:
        control.say(node, m.LeaveTasks((digest(2),)))
        control.say(node, m.LeaveTasks((TASK,)))
    assert again(control).line() == list(reversed(NODES))


def test_who_began_from_nothing_beside_resumed_ones_is_not_thought_slow() -> None:
    control = Lined()
    for node in NODES:
        control.join(node, size=SIZE, have=PieceSet.span(0, 96 if node in "abc" else 0).to_bytes())
    control.wait(0.3)
    assert not control.line()
    for step in range(1, 12):
        for node in NODES:
            have = PieceSet.span(0, min(PIECES, (96 if node in "abc" else 0) + 3 * step))
            control.report(node, m.TaskReport(TASK, have=have.to_bytes()))
        control.wait(0.5)
    for node in NODES:
        control.say(node, m.LeaveTasks((TASK,)))
    assert again(control).line() == list(reversed(NODES))


def test_who_is_away_when_the_others_are_complete_is_not_thought_slow() -> None:
    control = over(lined_up())
    control.wait(4.0)
    control.report("b", m.TaskReport(TASK, have=PieceSet.span(0, 9).to_bytes()))
    control.take(control.phase1.node_away("b", 60.0, control.now))
    for node in NODES:
        if node != "b":
            control.report(node, m.TaskReport(TASK, have=ALL))
    control.wait(1.0)
    control.take(control.phase1.node_joined("b", "b:1", m.Location(), control.now))
    for node in NODES:
        control.say(node, m.LeaveTasks((TASK,)))
    assert again(control).line() == list(reversed(NODES))


def test_a_line_shows_nothing() -> None:
    """Whoever is behind one that sends slowly would look slow."""
    control = pulled(lined_up(), sends={"b": 0.25}, receives={"a": 0.25})
    assert control.line() == list(reversed(NODES))
