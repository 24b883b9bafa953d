"""Events of a pull, and how long a client puts up with a stream that breaks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec

from modeldist.control.views import PullNodeView, PullView
from modeldist.errors import ControlPlaneUnreachable, ErrorInfo, ModeldistError, PullFailed

LARGEST_EVENT = 64 << 20  # bytes; a snapshot of 100,000 nodes is about 30 MB
SILENCE = 45.0  # seconds without a byte before an event stream counts as lost; the server comments every 15
RECONNECTS = 5  # in a row without an event, before a follower gives up


@dataclass(frozen=True)
class PullEvent:
    """One event of a pull: `pull` for snapshot and end, `node` for node."""

    kind: Literal["snapshot", "node", "end"]
    pull: PullView | None = None
    node: PullNodeView | None = None


def event_of(kind: str, data: str) -> PullEvent:
    match kind:
        case "snapshot" | "end":
            return PullEvent(kind, pull=msgspec.json.decode(data, type=PullView))
        case _:
            return PullEvent("node", node=msgspec.json.decode(data, type=PullNodeView))


def stopped_early(url: str, pull: str) -> ControlPlaneUnreachable:
    return ControlPlaneUnreachable(
        f"The control plane at {url} stopped telling about pull {pull}.",
        remedy="It may be restarting; ask again. The pull goes on.",
    )


def failure_of(pull: PullView, names: Mapping[str, str] | None = None) -> ModeldistError:
    """Why a pull did not end well: the error its nodes agree on, or PullFailed. `names`: what people call each node, by
    its id."""
    done = sum(node.state == "done" for node in pull.nodes)
    summary = f"{pull.reference} is on {done} of {len(pull.nodes)} nodes ({pull.state})."
    called = names or {}
    failed = [(called.get(node.node) or node.node, node.error) for node in pull.nodes if node.error]
    if not failed:
        return PullFailed(summary, remedy="Run it again: nodes keep what they have.")
    node, first = failed[0]
    message = f"{summary} {node}: {first.message}"
    if len({error.code for _, error in failed}) == 1:
        return ErrorInfo(first.code, message, first.remedy).as_error()
    return PullFailed(message, remedy=first.remedy)
