"""Why a pull is as fast as it is."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class WhyNodeView:
    """What holds a node of a pull up, or held it up. `bottleneck`: origin, origin_limit, parent, upload_limit,
    upstream, disk, disk_full, own_link, download_limit, verification, rdma, credentials, control_plane, queue,
    other_process, agent_away, integrity, not_found, trust, unsupported, request, deadline, agent, other; None where
    nothing does. `evidence`: what was measured, in sentences."""

    node: str
    name: str
    state: str
    bottleneck: str | None
    summary: str
    evidence: list[str] = field(default_factory=list)
    remedy: str | None = None


@dataclass(frozen=True)
class WhyView:
    """Why a pull is as fast as it is, or ended as it did, node by node. `state`: that of the pull; `summary`: how far
    all of it is."""

    pull: str
    nodes: list[WhyNodeView]
    state: str = ""
    summary: str = ""
