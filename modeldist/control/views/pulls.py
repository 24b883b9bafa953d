"""Pulls: one, pages of them, and what webhooks tell."""

from __future__ import annotations

from dataclasses import dataclass, field

from modeldist.control.views.failures import ErrorView


@dataclass(frozen=True)
class BytesView:
    """Bytes of a pull: `total` wanted; come from the `origin`, from `peers`, or here before (`local`)."""

    total: int = 0
    origin: int = 0
    peers: int = 0
    local: int = 0


@dataclass(frozen=True)
class PullNodeView:
    """How far one node is. `state`: waiting, resolving, pulling, materialising, done, failed, cancelled."""

    node: str
    state: str
    bytes: BytesView
    path: str
    updated_at: float
    error: ErrorView | None = None


@dataclass(frozen=True)
class SelectorView:
    """Which nodes a pull means: `nodes` by id; `everyone`; those with all `labels`; and of these, or of any, `count` or
    `percentage`."""

    nodes: list[str] = field(default_factory=list)
    everyone: bool = False
    labels: dict[str, str] = field(default_factory=dict)
    count: int = 0
    percentage: int = 0


@dataclass(frozen=True)
class PullSummary:
    """A pull without its nodes. `state`: running, done, failed, cancelled; `states` counts nodes by state."""

    id: str
    reference: str
    priority: str
    state: str
    selector: SelectorView
    created_at: float
    finished_at: float | None
    states: dict[str, int]
    bytes: BytesView
    deadline: float | None = None


@dataclass(frozen=True)
class PullView(PullSummary):
    """A pull with every node."""

    nodes: list[PullNodeView] = field(default_factory=list)


@dataclass(frozen=True)
class PullPage:
    """`next` is the cursor of the next page; None on the last."""

    pulls: list[PullSummary]
    next: str | None = None


@dataclass(frozen=True)
class PullNotice:
    """What a webhook tells. `type`: pull.done, pull.failed, pull.cancelled; `timestamp`: when it ended."""

    type: str
    timestamp: float
    data: PullView


@dataclass(frozen=True)
class WebhookView:
    """What became of a pull's webhook. `url`: without its query; `state`: waiting, delivered, failed, none (it has
    none); `due`: the next attempt while it waits; `error`: why the last one failed."""

    url: str
    state: str
    attempts: int
    due: float | None
    error: str
