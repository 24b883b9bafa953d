"""Large scenarios with names: what a cluster does, at line rates of 10 to 400 Gbit.

Digests are checked at 30 GB/s, which is BLAKE3 on eight cores of a node that has many. The control plane sends 40,000
small messages a second for one task, and agents may have 4 GiB requested: what one would set for such links.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from modeldist.scheduler.messages import Priority
from modeldist.scheduler.phase1 import Phase1Config
from modeldist.scheduler.phase2 import Phase2Config
from modeldist.simulator.scenario import NodeSpec, Scenario

GIB = 1 << 30
GB = 10**9
GBIT = 1e9 / 8

_FAST1 = Phase1Config(digest_messages=40_000)
_FAST2 = Phase2Config(max_in_flight=4 * GIB, max_in_flight_per_parent=GIB)


def _scenario(name: str, shards: tuple[int, ...], nodes: tuple[NodeSpec, ...], rate: float) -> Scenario:
    return Scenario(
        name,
        shards,
        nodes,
        origin_rate=rate,
        verify_rate=30e9,
        step=0.001,
        phase1=_FAST1,
        phase2=_FAST2,
    )


def _nodes(count: int, rate: float, **fields: object) -> tuple[NodeSpec, ...]:
    return tuple(NodeSpec(f"n{index}", rate, rate, **fields) for index in range(count))  # type: ignore[arg-type]


def large(nodes: int, per_rack: int = 0) -> Scenario:
    """140 GB to many nodes at 100 Gbit, all at once, origin as fast as a node. `per_rack`: racks with 4:1 uplinks; else
    a fabric that does not block."""
    rate = 100 * GBIT
    if not per_rack:
        return _scenario(f"cold-{nodes}", (140 * GB,), _nodes(nodes, rate), rate)
    specs = tuple(NodeSpec(f"n{index}", rate, rate, rack=f"r{index // per_rack}") for index in range(nodes))
    uplinks = {f"r{index}": per_rack * rate / 4 for index in range(-(-nodes // per_rack))}
    return replace(_scenario(f"cold-{nodes}-racks", (140 * GB,), specs, rate), rack_rate=uplinks)


def slices(nodes: int = 300) -> Scenario:
    """A model of 1 TB in 64 shards; every node wants an eighth of them, each from its own place on. 400 Gbit."""
    rate, count = 400 * GBIT, 64
    wants = [tuple((index * count // nodes + step) % count for step in range(count // 8)) for index in range(nodes)]
    specs = tuple(NodeSpec(f"n{index}", rate, rate, wants=wanted) for index, wanted in enumerate(wants))
    return replace(_scenario("slices-300", (1000 * GB // count,) * count, specs, rate), piece_size=1 << 26)


def ranks(nodes: int = 300) -> Scenario:
    """The same model, sliced for eight ranks: rank r wants the r-th eighth, as every eighth node does."""
    rate, count = 400 * GBIT, 64
    specs = tuple(
        NodeSpec(f"n{index}", rate, rate, wants=tuple(range(index % 8 * count // 8, (index % 8 + 1) * count // 8)))
        for index in range(nodes)
    )
    return replace(_scenario("ranks-300", (1000 * GB // count,) * count, specs, rate), piece_size=1 << 26)


def far(nodes: int = 100) -> Scenario:
    """20 ms between any two, 50 ms to the origin, 10 Gbit."""
    rate = 10 * GBIT
    scenario = _scenario("latency-100", (64 * GB,), _nodes(nodes, rate), rate)
    return replace(scenario, latency=0.02, session_latency=0.025, origin_latency=0.05)


def churn(nodes: int = 200) -> Scenario:
    """A tenth of the nodes die, a tenth join late, at moments of chance; 10 Gbit, about a minute."""
    rate, chance = 10 * GBIT, random.Random(7)
    specs = []
    for index in range(nodes):
        start = chance.uniform(0, 30) if index % 10 == 3 else 0.0
        leave = chance.uniform(5, 50) if index % 10 == 7 else None
        specs.append(NodeSpec(f"n{index}", rate, rate, start=start, leave=leave))
    return _scenario("churn-200", (64 * GB,), tuple(specs), rate)


def slow_nodes(nodes: int = 200) -> Scenario:
    """One node in twenty at a quarter of the upload, another at a quarter of the download; 10 Gbit."""
    rate = 10 * GBIT
    specs = []
    for index in range(nodes):
        up, down = (rate / 4 if index % 20 == 7 else rate), (rate / 4 if index % 20 == 13 else rate)
        specs.append(NodeSpec(f"n{index}", up, down))
    return _scenario("stragglers-200", (64 * GB,), tuple(specs), rate)


def flash_crowd(nodes: int = 500) -> Scenario:
    """Two nodes have it all, and in the course of two seconds all others want it; 25 Gbit."""
    rate, chance = 25 * GBIT, random.Random(7)
    seeds = tuple(NodeSpec(f"seed{index}", rate, rate, holds=True) for index in range(2))
    crowd = tuple(NodeSpec(f"n{index}", rate, rate, start=0.5 + chance.uniform(0, 2)) for index in range(nodes - 2))
    return _scenario("crowd-500", (64 * GB,), seeds + crowd, rate)


def mixed(nodes: int = 60) -> Scenario:
    """Three models of four shards; a third of the nodes serves the first, the others prefetch the second and third."""
    rate = 25 * GBIT
    shards = (8 * GB,) * 4 + (4 * GB,) * 4 + (2 * GB,) * 4
    wants = {0: (0, 1, 2, 3), 1: (4, 5, 6, 7), 2: (4, 5, 6, 7, 8, 9, 10, 11)}
    specs = tuple(
        NodeSpec(
            f"n{index}",
            rate,
            rate,
            wants=wants[index % 3],
            priority=Priority.SERVING if index % 3 == 0 else Priority.PREFETCH,
        )
        for index in range(nodes)
    )
    return replace(_scenario("mixed-60", shards, specs, rate), step=0.0005)


def zones(nodes: int = 120) -> Scenario:
    """Two zones of six racks of ten, uplinks 4:1; 25 Gbit."""
    rate = 25 * GBIT
    specs = tuple(
        NodeSpec(f"n{index}", rate, rate, rack=f"r{index // 10}", zone=f"z{index // 60}") for index in range(nodes)
    )
    uplinks = {f"r{index}": 10 * rate / 4 for index in range(12)}
    return replace(_scenario("zones-120", (64 * GB,), specs, rate), rack_rate=uplinks)


LARGE_PRESETS: dict[str, Callable[[], Scenario]] = {
    "cold-100": lambda: large(100),
    "cold-1000": lambda: large(1000),
    "cold-1000-racks": lambda: large(1000, per_rack=20),
    "cold-10000": lambda: large(10_000),
    "cold-10000-racks": lambda: large(10_000, per_rack=40),
    "slices-300": slices,
    "ranks-300": ranks,
    "latency-100": far,
    "churn-200": churn,
    "stragglers-200": slow_nodes,
    "crowd-500": flash_crowd,
    "mixed-60": mixed,
    "zones-120": zones,
}
