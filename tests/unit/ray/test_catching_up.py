"""Nodes join, leave, fail: who is asked for the model, and when again."""

from __future__ import annotations

from pathlib import Path

from modeldist.errors import AgentError, ErrorInfo
from modeldist.ray.catching_up import LONGEST_PAUSE, CatchingUp
from modeldist.ray.copies import NodeCopy

FAILED = AgentError("No agent.").info()


def copy(node: str) -> NodeCopy:
    return NodeCopy(node, Path("/m"), "r@sha256:0", origin=0, peers=0, local=0)


def test_each_node_is_asked_once() -> None:
    catching_up = CatchingUp[NodeCopy]()
    assert catching_up.due(["a", "b"], 0.0) == ["a", "b"]
    assert catching_up.due(["a", "b"], 1.0) == []
    catching_up.ended("a", copy("a"), 2.0)
    assert catching_up.due(["a", "b", "c"], 99.0) == ["c"]
    assert catching_up.there == {"a": copy("a")}


def test_what_failed_is_tried_again_ever_more_rarely_and_for_ever() -> None:
    catching_up, now, pauses = CatchingUp[NodeCopy](), 0.0, []
    for _ in range(40):
        assert catching_up.due(["a"], now) == ["a"]
        catching_up.ended("a", FAILED, now)
        assert catching_up.failures == {"a": FAILED}
        began = now
        while not catching_up.due(["a"], now):
            now += 0.5
        catching_up.coming.clear()
        pauses.append(now - began)
    assert pauses[:4] == [1.0, 2.0, 4.0, 8.0]
    assert set(pauses[10:]) == {LONGEST_PAUSE}


def test_an_origin_that_asks_for_time_is_given_it() -> None:
    catching_up = CatchingUp[NodeCopy]()
    catching_up.due(["a"], 0.0)
    catching_up.ended("a", ErrorInfo("rate_limited", "later", retry_after=300.0), 0.0)
    assert catching_up.due(["a"], 299.0) == []
    assert catching_up.due(["a"], 300.0) == ["a"]


def test_success_clears_the_failure() -> None:
    catching_up = CatchingUp[NodeCopy]()
    catching_up.due(["a"], 0.0)
    catching_up.ended("a", FAILED, 0.0)
    assert catching_up.due(["a"], 1.0) == ["a"]
    catching_up.ended("a", copy("a"), 1.0)
    assert not catching_up.failures
    assert catching_up.there


def test_who_left_is_forgotten_and_asked_anew_when_back() -> None:
    catching_up = CatchingUp[NodeCopy]()
    catching_up.due(["a", "b"], 0.0)
    catching_up.ended("a", copy("a"), 0.0)
    assert catching_up.due([], 1.0) == []
    assert not catching_up.there
    catching_up.ended("b", copy("b"), 2.0)  # its answer comes too late
    assert not catching_up.there
    assert catching_up.due(["a", "b"], 3.0) == ["a", "b"]
