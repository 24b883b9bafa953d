"""A pull's state machine, driven by any sequence of what agents and users do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeldist.control.pulls.pull import ENDED, UNDER_WAY, WAITING, Pull
from modeldist.control.pulls.selection import Selector, select
from modeldist.errors import ErrorInfo, NotFound, UsageError
from modeldist.scheduler.messages import Priority
from modeldist.session.messages import PROTOCOL, Hello, PullProgress

NODES = ["a", "b", "c", "stranger"]
STATES = [*sorted(ENDED), *sorted(UNDER_WAY), "a state of a newer agent"]

steps = st.lists(
    st.one_of(
        st.tuples(st.just("progress"), st.sampled_from(NODES), st.sampled_from(STATES), st.integers(-(2**70), 2**70)),
        st.tuples(st.just("add"), st.sampled_from(NODES)),
        st.tuples(st.just("cancel")),
        st.tuples(st.just("expire")),
    ),
    max_size=30,
)


def new_pull(everyone: bool = False) -> Pull:
    pull = Pull("p", "org/model:v1", Selector(everyone=everyone), Priority.PULL, 0.0)
    for node in NODES[:3]:
        pull.add(node, 0.0)
    return pull


@given(steps)
def test_any_history(history: list[tuple]) -> None:
    pull = new_pull()
    for now, step in enumerate(history, start=1):
        ended_before = {node for node, known in pull.nodes.items() if known.ended}
        was_running = pull.running
        before = dict(pull.nodes)
        match step:
            case ("progress", node, state, count):
                mattered = pull.apply(node, PullProgress("p", state, count, count, count, count), float(now))
                assert mattered == (was_running and node in before and node not in ended_before)
                if not mattered:
                    assert pull.nodes == before
            case ("add", node) if was_running:
                pull.add(node, float(now))
            case ("cancel",):
                stopped = pull.cancel(float(now))
                assert set(stopped) == ({*before} - ended_before if was_running else set())
            case ("expire",):
                stopped = pull.expire(float(now))
                assert set(stopped) == ({*before} - ended_before if was_running else set())
                for node in stopped:
                    error = pull.nodes[node].error
                    assert (pull.nodes[node].state, error and error.code) == ("failed", "deadline_exceeded")
                assert not was_running or pull.state == "failed"
        for node in ended_before:
            assert pull.nodes[node] == before[node], "what ended stays as it ended"
        for known in pull.nodes.values():
            assert known.state in {WAITING, *ENDED, *UNDER_WAY}
            assert 0 <= known.bytes_total < 1 << 63
        assert pull.running == (pull.finished_at is None)
        if not pull.running:
            assert all(known.ended for known in pull.nodes.values())
            assert not any(pull.wants(node) for node in NODES)
        if pull.state == "done":
            assert all(known.state == "done" for known in pull.nodes.values())
        if not was_running:
            assert pull.nodes == before


def test_who_is_asked() -> None:
    pull = new_pull()
    assert pull.wants("a")
    assert not pull.wants("stranger")
    assert new_pull(everyone=True).wants("stranger")
    pull.apply("a", PullProgress("p", "done"), 1.0)
    assert not pull.wants("a")


def test_texts_fit_a_database() -> None:
    pull = new_pull()
    error = ErrorInfo("c" * 9000, "m\0" * 9000, "r")
    pull.apply("a", PullProgress("p", "failed", path="p\0" * 9000, error=error), 1.0)
    known = pull.nodes["a"]
    assert known.error is not None
    for text in (known.path, known.error.code, known.error.message):
        assert len(text) <= 4096
        assert "\0" not in text


@pytest.mark.parametrize(
    "selector",
    [
        Selector(everyone=True),
        Selector(nodes=("a", "b")),
        Selector(labels={"k": "v"}),
        Selector(count=3),
        Selector(labels={"k": "v"}, percentage=30),
    ],
)
def test_selectors_survive_being_stored(selector: Selector) -> None:
    assert Selector.from_json(selector.to_json()) == selector


@given(st.integers(1, 50), st.integers(1, 100))
def test_a_percentage_is_rounded_up_and_takes_the_idlest(connected: int, percentage: int) -> None:
    hellos = {f"n{i:02}": Hello(PROTOCOL, f"n{i:02}", "", "0", "") for i in range(connected)}
    busy = {node: connected - i for i, node in enumerate(sorted(hellos))}  # the last one is idlest
    chosen = select(Selector(percentage=percentage), hellos, (), busy)
    assert 0 <= len(chosen) * 100 - connected * percentage < 100
    assert chosen == sorted(hellos)[-len(chosen) :]


def test_some_of_the_nodes_that_carry_labels() -> None:
    hellos = {
        node: Hello(PROTOCOL, node, "", "0", "", labels={"gpu": "h100"} if node != "cpu" else {})
        for node in ("a", "b", "c", "d", "cpu")
    }
    h100 = {"gpu": "h100"}
    assert select(Selector(labels=h100), hellos, (), {}) == ["a", "b", "c", "d"]
    assert select(Selector(labels=h100, percentage=50), hellos, (), {"a": 1}) == ["b", "c"]
    assert select(Selector(labels=h100, percentage=100), hellos, (), {}) == ["a", "b", "c", "d"]
    assert select(Selector(labels=h100, count=1), hellos, (), {"a": 1, "cpu": 0}) == ["b"]
    with pytest.raises(UsageError, match="5 nodes that carry gpu=h100 were asked for and 4 are connected"):
        select(Selector(labels=h100, count=5), hellos, (), {})
    with pytest.raises(NotFound, match="gpu=b200"):
        select(Selector(labels={"gpu": "b200"}, percentage=50), hellos, (), {})
    with pytest.raises(NotFound, match="No node is connected"):
        select(Selector(percentage=50), {}, ("known",), {})
    with pytest.raises(UsageError, match="1 nodes were asked for and 0 are connected"):
        select(Selector(count=1), {}, (), {})


def test_two_nodes_of_one_name() -> None:
    connected = {node: Hello(PROTOCOL, node, "twin", "0", "") for node in ("a", "b")}
    with pytest.raises(UsageError, match="2 nodes are called 'twin'"):
        select(Selector(nodes=("twin",)), connected, (), {})
    with pytest.raises(NotFound):
        select(Selector(nodes=("c",)), connected, (), {})
    assert select(Selector(nodes=("c",)), connected, {"c"}, {}) == ["c"]
