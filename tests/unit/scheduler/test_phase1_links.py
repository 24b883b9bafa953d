"""Links that are measured while nothing is fetched: who is asked, and when."""

from __future__ import annotations

import pytest

from modeldist.scheduler import messages as m
from modeldist.scheduler.phase1 import Phase1Config
from modeldist.scheduler.pieces import PieceSet
from tests.unit.scheduler.measured_links import MB, Measured
from tests.unit.scheduler.phase1_control import TASK
from tests.unit.scheduler.test_phase1_line import NODES


def test_each_is_measured_with_three_others_once_all_have_settled() -> None:
    control = Measured()
    control.settle(0.4)
    assert not control.asked
    control.settle()
    assert len(control.asked) == len(set(control.asked)) == 3 * len(NODES)
    for node in NODES:
        assert len([child for parent, child in control.asked if parent == node]) == 3
        assert len([parent for parent, child in control.asked if child == node]) == 3
        view = control.view(node)
        assert view.link_sends == view.link_receives == 100 * MB
        assert view.link_age is not None and view.link_age < 3


def test_in_a_round_each_link_carries_one_flow_each_way() -> None:
    control = Measured()
    control.settle()
    for start in range(0, len(control.asked), len(NODES)):
        parents, children = zip(*control.asked[start : start + len(NODES)], strict=True)
        assert sorted(parents) == sorted(children) == sorted(NODES)


def test_nobody_is_asked_while_somebody_fetches() -> None:
    control = Measured()
    control.join("a", have=PieceSet.span(0, 5).to_bytes())
    control.settle()
    assert not control.asked
    control.say("a", m.LeaveTasks((TASK,)))
    control.settle()
    assert len(control.asked) == 3 * len(NODES)


def test_nobody_is_asked_while_somebody_fetches_a_part() -> None:
    control = Measured()
    control.join("a", only=b"\x01")
    assert not control.settle().asked


def test_a_pull_that_begins_and_ends_within_a_round_is_noticed() -> None:
    control = Measured()
    control.silent.add("f")  # so that the round goes on
    while not control.asked:
        control.wait(0.1)
    control.join("a")
    control.say("a", m.LeaveTasks((TASK,)))
    control.settle(0.5)
    assert control.view("a").link_age is None and len(control.asked) == len(NODES)
    control.silent.clear()
    control.settle()
    assert control.view("a").link_sends == 100 * MB


def test_who_only_serves_is_asked() -> None:
    control = Measured()
    control.join("a", seed_only=True)
    assert len(control.settle().asked) == 3 * len(NODES)


def test_measuring_ends_when_somebody_fetches_and_begins_anew_afterwards() -> None:
    control = Measured()
    while not control.asked:
        control.wait(0.1)
    control.join("a", have=PieceSet.span(0, 5).to_bytes())
    control.settle()
    assert len(control.asked) == len(NODES)
    assert control.view("a").link_age is None
    control.say("a", m.LeaveTasks((TASK,)))
    control.settle()
    assert len(control.asked) == 4 * len(NODES)
    assert control.view("a").link_sends == 100 * MB


def test_nodes_that_cannot_and_nodes_that_serve_nobody_are_not_asked() -> None:
    control = Measured()
    control.open("older", measures=False)
    control.open("silent", serves=False)
    control.settle()
    assert {"older", "silent"}.isdisjoint(node for pair in control.asked for node in pair)


def test_three_nodes_are_too_few_to_say_who_is_slow() -> None:
    control = Measured("a", "b", "c").settle()
    assert not control.asked
    control.open("d")
    control.settle()
    assert len(control.asked) == 12


def test_nothing_is_sent_from_rack_to_rack() -> None:
    racks = {node: f"r{index % 2}" for index, node in enumerate("abcdefghi")} | {"i": "r2"}
    control = Measured(*racks, racks=racks).settle()
    assert len(control.asked) == 24
    assert all(racks[parent] == racks[child] for parent, child in control.asked)


def test_who_does_not_answer_is_not_waited_for_long() -> None:
    control = Measured(sends={"c": 25.0})
    control.silent.add("b")
    control.settle(20.0)
    assert [child for _, child in control.asked].count("b") == 1
    assert control.view("b").link_receives is None and control.view("b").link_sends == 100 * MB
    assert control.view("c").link_sends == 25 * MB


def test_links_are_measured_again_when_ten_minutes_have_passed() -> None:
    control = Measured(sends={"b": 25.0}).settle()
    control.sends.clear()
    asked = len(control.asked)
    control.settle(590.0)
    assert len(control.asked) == asked
    control.settle(75.0)
    assert len(control.asked) == asked + 3 * len(NODES)
    assert control.view("b").link_sends == 100 * MB


def test_a_control_plane_can_be_told_not_to() -> None:
    control = Measured(config=Phase1Config(restart_grace=0.0, measure_interval=0.0))
    assert not control.settle(30.0).asked


def test_a_newcomer_is_measured_with_three_who_were_not_slow() -> None:
    control = Measured(sends={"a": 25.0}, receives={"b": 25.0}).settle()
    control.asked.clear()
    control.open("new")
    control.settle()
    assert len(control.asked) == 12
    assert {"a", "b"}.isdisjoint(node for pair in control.asked for node in pair)
    assert control.view("new").link_sends == 100 * MB


def test_nodes_that_come_one_after_the_other_are_measured_together_but_not_waited_for_forever() -> None:
    control = Measured("n0")
    for index in range(1, 40):
        control.wait(0.1)
        control.wait(0.1)
        control.open(f"n{index}")
    first = control.asked[0]
    assert first and control.view("n0").link_age is not None
    control.settle(10.0)
    assert all(control.view(f"n{index}").link_sends == 100 * MB for index in range(40))


def test_no_more_than_64_are_measured_at_a_time() -> None:
    nodes = [f"n{index}" for index in range(150)]
    control = Measured(*nodes)
    most = 0
    for _ in range(200):
        before = len(control.asked)
        control.wait(0.1)
        most = max(most, len(control.asked) - before)
    assert most == 64
    assert all(control.view(node).link_sends == 100 * MB for node in nodes)


def test_everybody_has_a_turn_though_some_never_answer() -> None:
    """Who waits longest comes first: a campaign in which somebody is silent takes its time, and there are many."""
    nodes = [f"n{index}" for index in range(640)]
    control = Measured(*nodes, config=Phase1Config(restart_grace=0.0, measure_interval=60.0))
    control.silent.update(nodes[::40])
    control.settle(180.0)
    assert all(control.view(node).link_sends == 100 * MB for node in nodes)


def test_who_comes_and_goes_is_not_measured_each_time() -> None:
    control = Measured().settle()
    control.asked.clear()
    for _ in range(20):
        control.open("new")
        control.settle(1.2)
        control.take(control.phase1.node_left("new", control.now))
        control.settle(0.4)
    assert len(control.asked) <= 12


def test_who_is_only_there_to_be_compared_with_keeps_what_was_measured() -> None:
    control = Measured().settle()
    ages = {node: control.view(node).link_age for node in NODES}
    control.receives.update(dict.fromkeys(NODES, 10.0))
    control.open("new")
    control.settle(5.0)
    for node in NODES:
        assert control.view(node).link_receives == 100 * MB
        assert control.view(node).link_age == pytest.approx((ages[node] or 0) + 5.0)


def test_an_older_release_is_not_asked_in_the_midst_of_a_campaign_either() -> None:
    control = Measured()
    while not control.asked:
        control.wait(0.1)
    control.asked.clear()
    control.open("b", measures=False)
    control.settle()
    assert control.asked and "b" not in {node for pair in control.asked for node in pair}


def test_who_nobody_could_say_anything_of_is_due_again_soon() -> None:
    control = Measured()
    control.silent.update(NODES)
    control.settle(10.0)
    control.silent.clear()
    control.settle(60.0)
    assert all(control.view(node).link_sends == 100 * MB for node in NODES)


def test_a_restarted_control_plane_asks_nobody_before_it_knows_who_fetches() -> None:
    control = Measured("a", "b", "c", "d")
    control.phase1.expect(["a", "b", "c", "d", "e", "f"], control.now)
    control.settle(2.0)
    assert control.phase1.waiting(control.now) and not control.asked
    control.settle()
    assert len(control.asked) == 12


def test_who_never_answers_is_asked_ever_more_seldom() -> None:
    control = Measured("a", "b", "c", "d", "e")
    control.silent.add("e")
    control.settle(3600.0)
    asked = [child for _, child in control.asked]
    assert asked.count("e") <= 10
    assert max(asked.count(node) for node in "abcd") <= 3 * 7 + 10 * 3
    assert all(control.view(node).link_sends == 100 * MB for node in "abcd")


def test_nodes_that_came_one_by_one_are_measured_together_in_the_end() -> None:
    control = Measured("a", "b", "c", "d").settle()
    for node in "efg":
        control.open(node)
        control.settle(70.0)
    control.settle(3600.0)
    before = len(control.asked)
    control.settle(600.0)
    assert len(control.asked) - before <= 3 * 7 + 12


@pytest.mark.parametrize("count", [64, 65, 66, 67, 68, 129, 131])
def test_nobody_of_a_large_rack_is_left_over(count: int) -> None:
    nodes = [f"n{index}" for index in range(count)]
    control = Measured(*nodes).settle(8.0)
    assert all(control.view(node).link_sends == 100 * MB for node in nodes)
    assert all(asked.count(node) == 3 for asked in [[child for _, child in control.asked]] for node in nodes)
    assert all(parent != child for parent, child in control.asked)


def test_who_has_moved_to_another_rack_is_measured_there() -> None:
    nodes = [f"n{index}" for index in range(70)]
    control = Measured(*nodes, sends={"n69": 25.0})
    while not control.asked:
        control.wait(0.1)
    for node in nodes[66:]:
        control.racks[node] = "other"
        control.take(control.phase1.node_lost(node, control.now))
        control.open(node)
    control.settle(10.0)
    assert all(control.racks.get(parent) == control.racks.get(child) for parent, child in control.asked[64:])
    assert all(control.view(node).link_age is not None for node in nodes)
    control.racks.update(dict.fromkeys(nodes[66:], "third"))
    for node in nodes[66:]:
        control.take(control.phase1.node_left(node, control.now))
        control.open(node)
        assert control.view(node).link_age is None


def test_a_node_that_leaves_meanwhile_takes_nobody_with_it() -> None:
    control = Measured()
    while not control.asked:
        control.wait(0.1)
    control.take(control.phase1.node_left("c", control.now))
    control.take(control.phase1.node_lost("d", control.now))
    control.settle()
    assert control.phase1.node("c", control.now) is None
    for node in "abef":
        assert control.view(node).link_sends == 100 * MB


def test_what_was_measured_outlives_a_session() -> None:
    control = Measured(sends={"b": 25.0}).settle()
    asked = len(control.asked)
    control.take(control.phase1.node_lost("b", control.now))
    control.open("b")
    control.settle()
    assert control.view("b").link_sends == 25 * MB
    assert len(control.asked) == asked
