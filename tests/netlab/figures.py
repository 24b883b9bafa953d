"""What one contender did in one run, and the medians of several."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.netlab.limits import bound, node_bounds
from tests.netlab.scenario import LabScenario

MODELDIST = "modeldist"
_GB = 1e9


@dataclass(frozen=True, slots=True)
class Raw:
    """What a contender hands in.

    `finishes`: seconds from the first start until the node had everything, survivors only; `origin_bytes`: what the
    origin sent by its own account; `cpu` in seconds and `peak` in bytes of the nodes' processes; `uplink`: bytes over
    each rack's uplink, the larger direction; `progress`: node -> (seconds, bytes there)."""

    finishes: Mapping[str, float]
    origin_bytes: int
    cpu: float
    peak: int
    uplink: Mapping[str, int] = field(default_factory=dict)
    progress: Mapping[str, Sequence[tuple[float, int]]] = field(default_factory=dict)
    wrong: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Run:
    """r: last finish ÷ bound. a: origin bytes ÷ unique bytes. uplink: bytes over the busiest rack uplink ÷ unique
    bytes. others: the largest finish ÷ own bound of the nodes with a full download link. last_over_median: of the times
    since each node's own start. cpu_per_gb: seconds per GB arrived. machine_busy: share of all cores, everything
    included."""

    contender: str
    seconds: float
    bound: float
    r: float
    a: float
    others: float
    last_over_median: float
    cpu_per_gb: float
    peak_memory: int
    uplink: float
    machine_busy: float
    goodput: dict[str, float]
    finishes: dict[str, float]
    progress: dict[str, list[tuple[float, int]]]
    wrong: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        return {name: _rounded(value) for name, value in asdict(self).items()}


def run_of(contender: str, scenario: LabScenario, goodput: Mapping[float, float], raw: Raw, machine_busy: float) -> Run:
    limit = bound(scenario, goodput)
    own = node_bounds(scenario, goodput)
    started = {node.name: node.start for node in scenario.nodes}
    fastest = max(node.down for node in scenario.nodes)
    full = {node.name for node in scenario.nodes if node.down == fastest}
    last = max(raw.finishes.values())
    spans = [finish - started[node] for node, finish in raw.finishes.items()]
    return Run(
        contender=contender,
        seconds=last,
        bound=limit,
        r=last / limit,
        a=raw.origin_bytes / scenario.size,
        others=max((finish / own[node] for node, finish in raw.finishes.items() if node in full), default=0.0),
        last_over_median=max(spans) / statistics.median(spans),
        cpu_per_gb=raw.cpu / (len(raw.finishes) * scenario.size / _GB),
        peak_memory=raw.peak,
        uplink=max(raw.uplink.values(), default=0) / scenario.size,
        machine_busy=machine_busy,
        goodput={f"{rate:g}": found for rate, found in goodput.items()},
        finishes=dict(raw.finishes),
        progress={node: list(points) for node, points in raw.progress.items()},
        wrong=raw.wrong,
    )


def _rounded(value: Any) -> Any:
    match value:
        case float():
            return round(value, 4)
        case dict():
            return {key: _rounded(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_rounded(inner) for inner in value]
    return value
