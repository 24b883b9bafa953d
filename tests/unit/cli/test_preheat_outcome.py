from __future__ import annotations

import pytest

from modeldist.cli.commands.preheat import choose, node_line
from modeldist.cli.key_values import key_values
from modeldist.client.pull_events import failure_of
from modeldist.control.views import BytesView, ErrorView, PullNodeView, PullView, SelectorView
from modeldist.errors import NotEnoughSpace, PullFailed, UsageError


def node(name: str, state: str = "done", error: ErrorView | None = None) -> PullNodeView:
    return PullNodeView(name, state, BytesView(100, 25, 70, 5), f"/store/{name}", 0.0, error)


def view(*nodes: PullNodeView, state: str = "failed") -> PullView:
    return PullView(
        "id", "org/model:v1", "prefetch", state, SelectorView(), 0.0, 1.0, {}, BytesView(), nodes=list(nodes)
    )


FULL = ErrorView("not_enough_space", "The disk is full.", "Free some space.")
LOST = ErrorView("origin_unavailable", "The registry is down.")


def test_one_way_of_choosing_nodes() -> None:
    assert choose("a, b", everyone=False, label=(), count=None, percentage=None) == ["a", "b"]
    assert choose(None, everyone=True, label=(), count=None, percentage=None) == "all"
    assert choose(None, everyone=False, label=("gpu=h100", "rack=1"), count=None, percentage=None) == {
        "labels": {"gpu": "h100", "rack": "1"}
    }
    assert choose(None, everyone=False, label=(), count=4, percentage=None) == {"count": 4}
    assert choose(None, everyone=False, label=(), count=None, percentage=25) == {"percentage": 25}
    assert choose(None, everyone=False, label=("gpu=h100",), count=None, percentage=25) == {
        "labels": {"gpu": "h100"},
        "percentage": 25,
    }


def test_no_way_or_several_are_refused() -> None:
    with pytest.raises(UsageError, match="Which nodes"):
        choose(None, everyone=False, label=(), count=None, percentage=None)
    with pytest.raises(UsageError, match="several ways"):
        choose("a", everyone=True, label=(), count=None, percentage=None)
    with pytest.raises(UsageError):
        choose("a", everyone=False, label=("gpu=h100",), count=None, percentage=None)
    with pytest.raises(UsageError):
        choose(None, everyone=False, label=(), count=4, percentage=25)


@pytest.mark.parametrize("text", ["gpu", "=h100", ""])
def test_labels_are_key_and_value(text: str) -> None:
    with pytest.raises(UsageError, match="--label"):
        key_values([text], "--label")
    assert key_values(["empty="], "--label") == {"empty": ""}


def test_a_cause_that_all_share_is_the_cause() -> None:
    error = failure_of(view(node("a"), node("b", "failed", FULL), node("c", "failed", FULL)), {})
    assert isinstance(error, NotEnoughSpace)
    assert error.message == "org/model:v1 is on 1 of 3 nodes (failed). b: The disk is full."
    assert error.remedy == "Free some space."


def test_different_causes_are_a_failed_pull() -> None:
    error = failure_of(view(node("a", "failed", LOST), node("b", "failed", FULL)), {})
    assert isinstance(error, PullFailed)
    assert "a: The registry is down." in error.message


def test_a_cancelled_pull_has_no_cause() -> None:
    error = failure_of(view(node("a", "cancelled"), state="cancelled"), {})
    assert isinstance(error, PullFailed)
    assert "0 of 1 nodes (cancelled)" in error.message


def test_a_line_for_each_node() -> None:
    assert node_line(node("a", "pulling"), {}) == "a: pulling"
    assert node_line(node("a", "failed", FULL), {"a": "gpu-7"}) == "gpu-7: failed: The disk is full. Free some space."
    assert node_line(node("a"), {}) == "a: done, 25 B from the origin, 70 B from peers, 5 B already there: /store/a"
