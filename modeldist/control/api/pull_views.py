"""Pulls as REST shows them."""

from __future__ import annotations

from collections import Counter

from modeldist.control.pulls.pull import Pull, PullNode
from modeldist.control.views import BytesView, ErrorView, PullNodeView, PullNotice, PullSummary, PullView, SelectorView


def node_view(node: PullNode) -> PullNodeView:
    return PullNodeView(
        node=node.node,
        state=node.state,
        bytes=BytesView(node.bytes_total, node.bytes_origin, node.bytes_peers, node.bytes_local),
        path=node.path,
        updated_at=node.updated_at,
        error=ErrorView(node.error.code, node.error.message, node.error.remedy) if node.error else None,
    )


def summary(pull: Pull) -> PullSummary:
    nodes = pull.nodes.values()
    return PullSummary(
        id=pull.id,
        reference=pull.reference,
        priority=pull.priority.name.lower(),
        state=pull.state,
        selector=SelectorView(
            list(pull.selector.nodes),
            pull.selector.everyone,
            dict(pull.selector.labels),
            pull.selector.count,
            pull.selector.percentage,
        ),
        created_at=pull.created_at,
        finished_at=pull.finished_at,
        states=dict(sorted(Counter(node.state for node in nodes).items())),
        bytes=BytesView(
            sum(node.bytes_total for node in nodes),
            sum(node.bytes_origin for node in nodes),
            sum(node.bytes_peers for node in nodes),
            sum(node.bytes_local for node in nodes),
        ),
        deadline=pull.deadline,
    )


def notice(pull: Pull) -> PullNotice:
    """What a webhook tells of a pull that ended."""
    return PullNotice(f"pull.{pull.state}", pull.finished_at or pull.created_at, view(pull))


def view(pull: Pull) -> PullView:
    brief = summary(pull)
    return PullView(**vars(brief), nodes=[node_view(node) for _, node in sorted(pull.nodes.items())])
