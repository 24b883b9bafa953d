"""Rollouts: one, and pages of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from modeldist.control.views.failures import ErrorView


@dataclass(frozen=True)
class NodeUpdateView:
    """How far a node's update is. `state`: waiting, told, up, done, refused, failed, going_back, gone_back; `step` is
    what it said last. `before` and `version`: what it ran, and runs. The control plane has the name ""."""

    node: str
    state: str
    step: str
    before: str
    version: str
    since: float
    error: ErrorView | None = None


@dataclass(frozen=True)
class RolloutSummary:
    """A rollout without its nodes. `state`: running, going_back, done, failed, aborted; `reason`: why it goes back;
    `wave`: 0 the control plane, 1 the canary, then the waves; `states` counts nodes by state. `version`: what comes,
    once a node runs it."""

    id: str
    release: str
    version: str
    state: str
    reason: str
    wave: int
    canary: int
    waves: list[int]
    most_away: int
    health: float
    within: float
    drain: float
    tolerate: int
    control_plane: bool
    created_at: float
    finished_at: float | None
    states: dict[str, int]


@dataclass(frozen=True)
class RolloutView(RolloutSummary):
    """A rollout with every node, in the order in which they are told."""

    nodes: list[NodeUpdateView] = field(default_factory=list)


@dataclass(frozen=True)
class RolloutPage:
    rollouts: list[RolloutSummary]
    next: str | None = None
