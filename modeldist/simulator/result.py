"""What came of a simulation."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class NodeResult:
    """Bytes by source. `finished` and `bound` in seconds from the start; `finished` is None if it never was complete,
    `bound` is when it could have been at best."""

    node: str
    started: float
    finished: float | None
    bound: float
    from_origin: int
    from_peers: int
    sent: int


@dataclass(frozen=True, slots=True)
class Result:
    """R = last finish / fluid bound; A = bytes the origin sent / unique bytes. `rack_in`, `rack_out`: bytes over each
    rack's uplink. `messages`: instructions phase 1 sent."""

    name: str
    seconds: float
    bound: float
    unique_bytes: int
    origin_bytes: int
    wasted_bytes: int  # fetched from peers twice
    nodes: tuple[NodeResult, ...]
    rack_in: dict[str, int]
    rack_out: dict[str, int]
    complete: bool
    events: int
    messages: int
    cpu_seconds: float = 0.0  # of the simulation

    @property
    def r(self) -> float:
        return self.seconds / self.bound if self.bound else 0.0

    @property
    def a(self) -> float:
        return self.origin_bytes / self.unique_bytes if self.unique_bytes else 0.0

    @property
    def worst(self) -> float:
        """The largest finish / bound of a single node: what the slow ones make the others pay."""
        return max((node.finished / node.bound for node in self.nodes if node.finished and node.bound), default=0.0)

    @property
    def last_over_median(self) -> float:
        spans = [node.finished - node.started for node in self.nodes if node.finished is not None]
        return max(spans) / statistics.median(spans) if spans and statistics.median(spans) else 0.0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.name,
            "complete": self.complete,
            "seconds": round(self.seconds, 4),
            "bound": round(self.bound, 4),
            "R": round(self.r, 4),
            "A": round(self.a, 4),
            "worst": round(self.worst, 4),
            "last_over_median": round(self.last_over_median, 4),
            "origin_bytes": self.origin_bytes,
            "unique_bytes": self.unique_bytes,
            "wasted_bytes": self.wasted_bytes,
            "rack_in": self.rack_in,
            "rack_out": self.rack_out,
            "events": self.events,
            "messages": self.messages,
            "cpu_seconds": round(self.cpu_seconds, 1),
            "nodes": [
                {
                    "node": node.node,
                    "started": node.started,
                    "finished": None if node.finished is None else round(node.finished, 4),
                    "bound": round(node.bound, 4),
                    "from_origin": node.from_origin,
                    "from_peers": node.from_peers,
                    "sent": node.sent,
                }
                for node in self.nodes
            ],
        }
