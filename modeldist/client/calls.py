"""What is asked of the control plane, as data: each function is one operation of the API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Literal, Protocol, TypedDict, TypeVar
from urllib.parse import quote

from modeldist.control.views import (
    ArtifactView,
    AuditPage,
    HoldersView,
    KeepingView,
    ModelPage,
    ModelView,
    NodePage,
    NodeTaskPage,
    NodeView,
    PieceMapPage,
    PullPage,
    PullView,
    RackPage,
    RolloutPage,
    RolloutView,
    ShardPage,
    StatusView,
    SwarmView,
    TaskPage,
    TaskView,
    TokenView,
    WebhookView,
    WhyView,
)

T = TypeVar("T")

_IDEMPOTENT = frozenset({"resolve", "pin", "unpin", "evict"})

PriorityName = Literal["serving", "pull", "prefetch"]
By = Literal["node", "rack", "zone"]
"""What a place of a swarm's picture is."""


class SomeNodes(TypedDict, total=False):
    """Connected nodes: those with all `labels`; of these, or of any, `count` or `percentage`."""

    labels: Mapping[str, str]
    count: int
    percentage: int


Nodes = Sequence[str] | Literal["all"] | SomeNodes
"""Node ids or names, "all", {"labels": {…}}, {"count": n}, {"percentage": p}, {"labels": {…}, "count": n}, …"""


class Paged(Protocol):
    """A page of a list; `next` is the cursor of the one after it, None on the last."""

    @property
    def next(self) -> str | None: ...


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request, its path below /api/v1, and what its answer is."""

    answer: type[T]
    method: str
    path: str
    parameters: Mapping[str, str | int] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def repeatable(self) -> bool:
        """Whether asking it twice does no more than asking it once."""
        return self.method != "POST" or self.path in _IDEMPOTENT or "Idempotency-Key" in self.headers


def resolve(reference: str) -> Call[ArtifactView]:
    return Call(ArtifactView, "POST", "resolve", body={"reference": reference})


def create_pull(
    reference: str,
    nodes: Nodes,
    *,
    priority: PriorityName,
    selection: Mapping[str, Any] | None,
    deadline: datetime | None,
    webhook: tuple[str, str] | None,
    idempotency_key: str | None,
) -> Call[PullView]:
    body: dict[str, Any] = {"reference": reference, "nodes": nodes, "priority": priority}
    if selection:
        body["selection"] = selection
    if deadline is not None:
        body["deadline"] = deadline.isoformat()
    if webhook is not None:
        body["webhook"] = {"url": webhook[0], "secret": webhook[1]}
    headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
    return Call(PullView, "POST", "pulls", body=body, headers=headers)


def get_pull(pull: str) -> Call[PullView]:
    return Call(PullView, "GET", f"pulls/{_segment(pull)}")


def cancel_pull(pull: str) -> Call[PullView]:
    return Call(PullView, "DELETE", f"pulls/{_segment(pull)}")


def why_pull(pull: str) -> Call[WhyView]:
    return Call(WhyView, "GET", f"pulls/{_segment(pull)}/why")


def get_webhook(pull: str) -> Call[WebhookView]:
    return Call(WebhookView, "GET", f"pulls/{_segment(pull)}/webhook")


def list_shards(pull: str, cursor: str | None, limit: int) -> Call[ShardPage]:
    return Call(ShardPage, "GET", f"pulls/{_segment(pull)}/shards", _given(cursor=cursor, limit=limit))


def events_of(pull: str) -> str:
    """The path of a pull's events."""
    return f"pulls/{_segment(pull)}/events"


def list_pulls(cursor: str | None, limit: int, state: str | None) -> Call[PullPage]:
    return Call(PullPage, "GET", "pulls", _given(cursor=cursor, limit=limit, state=state))


def list_models(cursor: str | None, limit: int) -> Call[ModelPage]:
    return Call(ModelPage, "GET", "models", _given(cursor=cursor, limit=limit))


def get_model(digest: str) -> Call[ModelView]:
    return Call(ModelView, "GET", f"models/{_segment(digest)}")


def where_is(digest: str) -> Call[HoldersView]:
    return Call(HoldersView, "GET", f"models/{_segment(digest)}/nodes")


def keeping(
    action: Literal["pin", "unpin", "evict"], reference: str, nodes: Nodes, selection: Mapping[str, Any] | None
) -> Call[KeepingView]:
    body: dict[str, Any] = {"reference": reference, "nodes": nodes}
    if selection:
        body["selection"] = selection
    return Call(KeepingView, "POST", action, body=body)


def list_nodes(cursor: str | None, limit: int) -> Call[NodePage]:
    return Call(NodePage, "GET", "nodes", _given(cursor=cursor, limit=limit))


def get_node(node: str) -> Call[NodeView]:
    return Call(NodeView, "GET", f"nodes/{_segment(node)}")


def get_node_tasks(node: str, cursor: str | None, limit: int) -> Call[NodeTaskPage]:
    return Call(NodeTaskPage, "GET", f"nodes/{_segment(node)}/tasks", _given(cursor=cursor, limit=limit))


def list_racks(cursor: str | None, limit: int) -> Call[RackPage]:
    return Call(RackPage, "GET", "racks", _given(cursor=cursor, limit=limit))


def list_tasks(cursor: str | None, limit: int) -> Call[TaskPage]:
    return Call(TaskPage, "GET", "tasks", _given(cursor=cursor, limit=limit))


def get_task(digest: str) -> Call[TaskView]:
    return Call(TaskView, "GET", f"tasks/{_segment(digest)}")


def get_swarm(digest: str, by: By | None) -> Call[SwarmView]:
    return Call(SwarmView, "GET", f"tasks/{_segment(digest)}/swarm", _given(by=by))


def get_pieces(digest: str, node: str | None, cursor: str | None, limit: int) -> Call[PieceMapPage]:
    given = _given(node=node, cursor=cursor, limit=limit)
    return Call(PieceMapPage, "GET", f"tasks/{_segment(digest)}/pieces", given)


def create_rollout(release: str, nodes: Nodes, how: Mapping[str, Any]) -> Call[RolloutView]:
    return Call(RolloutView, "POST", "rollouts", body={"release": release, "nodes": nodes, **how})


def get_rollout(rollout: str) -> Call[RolloutView]:
    return Call(RolloutView, "GET", f"rollouts/{_segment(rollout)}")


def abort_rollout(rollout: str) -> Call[RolloutView]:
    return Call(RolloutView, "DELETE", f"rollouts/{_segment(rollout)}")


def list_rollouts(cursor: str | None, limit: int) -> Call[RolloutPage]:
    return Call(RolloutPage, "GET", "rollouts", _given(cursor=cursor, limit=limit))


def status() -> Call[StatusView]:
    return Call(StatusView, "GET", "status")


def token() -> Call[TokenView]:
    return Call(TokenView, "GET", "token")


def list_audit(cursor: str | None, limit: int) -> Call[AuditPage]:
    return Call(AuditPage, "GET", "audit", _given(cursor=cursor, limit=limit))


def _segment(text: str) -> str:
    """One path segment: a node's name may hold a slash."""
    return quote(text, safe=":@")


def _given(**parameters: str | int | None) -> dict[str, str | int]:
    return {key: value for key, value in parameters.items() if value is not None}
