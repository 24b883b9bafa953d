"""What `modeldist rollout --wait` says at the end, and whether that is a failure."""

from __future__ import annotations

from collections import Counter

from modeldist.cli.commands.rollout import failure_of, left_out
from modeldist.control.views import ErrorView, NodeUpdateView, RolloutView

OWN = ErrorView("unsupported", "This agent was not started by `modeldist launch`.")
NAMES = {f"id-{number}": f"node-{number}" for number in range(9)}


def node(number: int, state: str = "done", error: ErrorView | None = None) -> NodeUpdateView:
    return NodeUpdateView(f"id-{number}", state, state, "0.1.0", "0.2.0", 0.0, error)


def ended(*nodes: NodeUpdateView, state: str = "done", reason: str = "") -> RolloutView:
    return RolloutView(
        id="7",
        release="registry.example/ops/modeldist:0.2.0",
        version="0.2.0",
        state=state,
        reason=reason,
        wave=2,
        canary=1,
        waves=[100],
        most_away=1,
        health=60.0,
        within=60.0,
        drain=30.0,
        tolerate=0,
        control_plane=False,
        created_at=0.0,
        finished_at=1.0,
        states=dict(Counter(one.state for one in nodes)),
        nodes=list(nodes),
    )


def test_one_that_updated_somebody_is_none() -> None:
    shown = ended(node(0), node(1, "refused", OWN))
    assert failure_of(shown, NAMES) is None
    assert left_out(shown, NAMES) == [f"node-1 was left out: {OWN.message}"]


def test_one_that_updated_nobody_is_a_failure_that_says_why() -> None:
    error = failure_of(ended(*(node(number, "refused", OWN) for number in range(9))), NAMES)
    assert error is not None
    assert error.exit_code == 17
    assert error.message == (
        "The rollout 7 updated no node. node-0, node-1, node-2, node-3, node-4 and 4 more were left out: " + OWN.message
    )
    assert "upgrade.md" in error.remedy


def test_one_that_went_back_says_why() -> None:
    error = failure_of(ended(node(0, "gone_back"), state="failed", reason="node node-0 failed: It crashed."), NAMES)
    assert error is not None
    assert error.message == "The rollout 7 failed: node node-0 failed: It crashed."
