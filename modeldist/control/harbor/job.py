"""A pull as the job that Harbor asks about until it is SUCCESS or FAILURE.

Harbor shows `success_tasks` and `failure_tasks` as a table when a job succeeded, and `error` when it did not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from modeldist.control.pulls.pull import Pull, PullNode
from modeldist.session.messages import Hello

JobState = Literal["PENDING", "SUCCESS", "FAILURE"]


@dataclass(frozen=True)
class NodeTask:
    """One node of a job."""

    url: str
    hostname: str
    ip: str
    description: str = ""


@dataclass(frozen=True)
class ClusterResult:
    success_tasks: list[NodeTask]
    failure_tasks: list[NodeTask]
    scheduler_cluster_id: int = 1  # the one there is


@dataclass(frozen=True)
class GroupState:
    state: JobState
    error: str
    results: list[ClusterResult]


@dataclass(frozen=True)
class JobResult:
    job_states: list[GroupState] = field(default_factory=list)


@dataclass(frozen=True)
class JobView:
    """`id` is a number, as Harbor decodes it; `task_id` is the pull's id. Times are RFC 3339."""

    id: int
    created_at: str
    updated_at: str
    task_id: str
    type: str
    state: JobState
    args: dict[str, str]
    result: JobResult


def job_view(number: int, url: str, pull: Pull, connected: Mapping[str, Hello]) -> JobView:
    """`connected` tells the names and addresses of nodes by their ids."""
    state: JobState = {"running": "PENDING", "done": "SUCCESS"}.get(pull.state, "FAILURE")  # type: ignore[assignment]
    changed = [pull.created_at, pull.finished_at or 0.0, *(node.updated_at for node in pull.nodes.values())]
    return JobView(
        id=number,
        created_at=rfc3339(pull.created_at),
        updated_at=rfc3339(max(changed)),
        task_id=pull.id,
        type="preheat",
        state=state,
        args={"type": "image", "url": url},
        result=JobResult([] if pull.running else [_outcome(state, url, pull, connected)]),
    )


def _outcome(state: JobState, url: str, pull: Pull, connected: Mapping[str, Hello]) -> GroupState:
    nodes = [node for _, node in sorted(pull.nodes.items())]
    done = [node for node in nodes if node.state == "done"]
    failed = [node for node in nodes if node.state != "done"]
    return GroupState(
        state,
        "" if state == "SUCCESS" else first_reason(pull, {node: hello.name for node, hello in connected.items()}),
        [
            ClusterResult(
                [_task(node, url, connected) for node in done], [_task(node, url, connected) for node in failed]
            )
        ],
    )


def first_reason(pull: Pull, names: Mapping[str, str]) -> str:
    """Why it did not succeed: the state, how many nodes, and the first reason. `names` of nodes, by their ids."""
    failed = [node for _, node in sorted(pull.nodes.items()) if node.state != "done"]
    said = f"{pull.reference}: {pull.state}; {len(failed)} of {len(pull.nodes)} nodes do not have it."
    for node in failed:
        if node.error is not None:
            return f"{said} {names.get(node.node) or node.node}: {node.error.message} {node.error.remedy}".rstrip()
    return said


def _task(node: PullNode, url: str, connected: Mapping[str, Hello]) -> NodeTask:
    hello = connected.get(node.node)
    address = hello.address.rpartition(":")[0].strip("[]") if hello else ""
    return NodeTask(url, _name(node, connected), address, node.error.message if node.error else "")


def _name(node: PullNode, connected: Mapping[str, Hello]) -> str:
    hello = connected.get(node.node)
    return (hello.name if hello else "") or node.node


def rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
