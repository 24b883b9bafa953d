"""A picture of a control plane: its running pulls, its nodes by traffic, who feeds whom."""

from __future__ import annotations

import time
from collections import Counter
from types import TracebackType
from typing import TYPE_CHECKING, Self

from modeldist.cli import units
from modeldist.cli.rate_meter import RateMeter
from modeldist.cli.top.picture import FeedRow, NodeRow, Picture, PullRow

if TYPE_CHECKING:
    from modeldist.client import Client
    from modeldist.control.views import NodeView, PullSummary, TaskView

PULLS, TASKS = 10, 10  # that are looked at node by node; asking for more would be work for the control plane
FED = 20  # nodes whose parents are shown


class Cluster:
    """`look` again and again; rates of pulls are known from the second time on."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._meters: dict[tuple[str, str], RateMeter] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def look(self) -> Picture:
        """Raises ModeldistError."""
        about = self._client.status()
        nodes = [node for node in self._client.nodes() if node.connected]
        pulls = self._client.list_pulls(state="running").pulls
        tasks = [self._client.get_task(task.digest) for task in self._client.list_tasks(limit=TASKS).tasks]
        names = {node.node: node.name or units.short_id(node.node) for node in nodes}
        return Picture(
            title=f"Control plane {about.cluster}, {units.counted(about.agents, 'agent')}, "
            f"{units.counted(about.pulls_running, 'pull')} running",
            received=_sum([node.traffic.received if node.traffic else None for node in nodes]),
            sent=_sum([node.traffic.sent if node.traffic else None for node in nodes]),
            pulls=tuple(self._pull(pull) for pull in pulls[:PULLS]),
            nodes=tuple(sorted(map(_node, nodes), key=lambda row: -((row.received or 0.0) + (row.sent or 0.0)))),
            feeds=feeds(tasks, names),
        )

    def _pull(self, pull: PullSummary) -> PullRow:
        now, count = time.monotonic(), pull.bytes
        for source, read in (("origin", count.origin), ("peers", count.peers)):
            self._meters.setdefault((pull.id, source), RateMeter()).add(now, read)
        causes = Counter(node.bottleneck for node in self._client.why_pull(pull.id).nodes if node.bottleneck)
        return PullRow(
            pull=pull.id,
            reference=pull.reference,
            state=", ".join(f"{many} {state}" for state, many in pull.states.items()),
            size=count.total,
            done=count.origin + count.peers + count.local,
            origin=self._meters[pull.id, "origin"].per_second,
            peers=self._meters[pull.id, "peers"].per_second,
            nodes=sum(pull.states.values()),
            bottleneck=causes.most_common(1)[0][0] if causes else None,
        )


def _sum(speeds: list[float | None]) -> float | None:
    known = [speed for speed in speeds if speed is not None]
    return sum(known) if known else None


def _node(node: NodeView) -> NodeRow:
    traffic = node.traffic
    if traffic is None:
        return NodeRow(node=node.node, name=node.name)
    return NodeRow(
        node=node.node,
        name=node.name,
        received=traffic.received,
        sent=traffic.sent,
        children=traffic.children,
        tasks=traffic.tasks,
    )


def feeds(tasks: list[TaskView], names: dict[str, str]) -> tuple[FeedRow, ...]:
    """Of the nodes that still want something."""
    found: dict[str, Counter[str]] = {}
    for task in tasks:
        for member in task.members:
            if member.wants and not member.complete and member.parents:
                found.setdefault(member.node, Counter()).update(member.parents)
    return tuple(
        FeedRow(
            node=names.get(node, units.short_id(node)),
            parents=tuple((names.get(parent, units.short_id(parent)), None) for parent, _ in parents.most_common()),
        )
        for node, parents in sorted(found.items())[:FED]
    )
