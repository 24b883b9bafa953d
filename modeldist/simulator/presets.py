"""Scenarios with names. Rates: 200 Mbit = 25 MB/s."""

from __future__ import annotations

from collections.abc import Callable

from modeldist.simulator.large_presets import LARGE_PRESETS
from modeldist.simulator.scenario import NodeSpec, Scenario

MIB = 1 << 20
GIB = 1 << 30
MBIT = 1e6 / 8


def _nodes(count: int, rate: float, **fields: object) -> tuple[NodeSpec, ...]:
    return tuple(NodeSpec(f"n{index}", rate, rate, **fields) for index in range(count))  # type: ignore[arg-type]


def cold(nodes: int = 8, size: int = 256 * MIB, rate: float = 200 * MBIT) -> Scenario:
    """Everybody at once, equal links, origin as fast as a node."""
    return Scenario(f"cold-{nodes}", (size,), _nodes(nodes, rate), origin_rate=rate)


def slow_origin() -> Scenario:
    return Scenario("slow-origin", (256 * MIB,), _nodes(8, 200 * MBIT), origin_rate=50 * MBIT)


def racks() -> Scenario:
    """Two racks of four; each uplink carries one node's rate (4:1)."""
    rate = 200 * MBIT
    nodes = tuple(NodeSpec(f"n{index}", rate, rate, rack=f"r{index % 2}") for index in range(8))
    return Scenario("racks", (256 * MIB,), nodes, origin_rate=rate, rack_rate={"r0": rate, "r1": rate})


def stragglers() -> Scenario:
    """One node at a quarter of the upload, one at a quarter of the download."""
    rate = 200 * MBIT
    nodes = (
        *_nodes(6, rate),
        NodeSpec("slow-up", rate / 4, rate),
        NodeSpec("slow-down", rate, rate / 4),
    )
    return Scenario("stragglers", (256 * MIB,), nodes, origin_rate=rate)


def kill() -> Scenario:
    """Two of eight die at half time."""
    rate = 200 * MBIT
    nodes = (*_nodes(6, rate), *(NodeSpec(f"dies{i}", rate, rate, leave=5.4) for i in range(2)))
    return Scenario("kill", (256 * MIB,), nodes, origin_rate=rate)


def arrivals() -> Scenario:
    """Twelve shards of unequal size, eight nodes joining over five seconds."""
    rate = 200 * MBIT
    sizes = tuple((4 + 5 * index) * MIB for index in range(12))
    nodes = tuple(NodeSpec(f"n{index}", rate, rate, start=index * 5 / 7) for index in range(8))
    return Scenario("arrivals", sizes, nodes, origin_rate=rate)


def stuck() -> Scenario:
    """One node's origin reads stand still from the third second on."""
    rate = 200 * MBIT
    nodes = (*_nodes(7, rate), NodeSpec("stuck", rate, rate, stuck=3.0))
    return Scenario("stuck", (256 * MIB,), nodes, origin_rate=rate)


def busy() -> Scenario:
    """Two parents answer busy for some seconds."""
    rate = 200 * MBIT
    nodes = (*_nodes(6, rate), *(NodeSpec(f"busy{i}", rate, rate, busy=(2.0, 5.0)) for i in range(2)))
    return Scenario("busy", (256 * MIB,), nodes, origin_rate=rate)


def small_files() -> Scenario:
    """A thousand small shards and two large ones."""
    sizes = (*(16 * 1024 for _ in range(1000)), 128 * MIB, 128 * MIB)
    return Scenario("small-files", sizes, _nodes(4, 200 * MBIT), origin_rate=200 * MBIT)


def hundred(nodes: int = 100) -> Scenario:
    """A hundred nodes in racks of ten, 16 GiB at 10 Gbit, uplinks 4:1."""
    rate = 10_000 * MBIT
    specs = tuple(NodeSpec(f"n{index}", rate, rate, rack=f"r{index // 10}", zone="z") for index in range(nodes))
    uplinks = {f"r{index}": 10 * rate / 4 for index in range(-(-nodes // 10))}
    return Scenario(f"racks-{nodes}", (16 * GIB,), specs, origin_rate=rate, rack_rate=uplinks, quantum=0.01)


def parts(count: int = 8, replicas: int = 1, whole: int = 0) -> Scenario:
    """Ranks of a model of four shards: each node wants its own part of every shard, and some want all."""
    rate = 200 * MBIT
    ranks = tuple(
        NodeSpec(f"r{index}-{replica}", rate, rate, part=(index, count))
        for replica in range(replicas)
        for index in range(count)
    )
    name = f"parts-{count}" + (f"x{replicas}" if replicas > 1 else "") + (f"-and-{whole}" if whole else "")
    return Scenario(name, 4 * (128 * MIB,), (*ranks, *_nodes(whole, rate)), origin_rate=rate)


SMALL_PRESETS: dict[str, Callable[[], Scenario]] = {
    "cold-8": cold,
    "cold-16": lambda: cold(16, 128 * MIB, 100 * MBIT),
    "one": lambda: cold(1, 64 * MIB),
    "slow-origin": slow_origin,
    "racks": racks,
    "stragglers": stragglers,
    "kill": kill,
    "arrivals": arrivals,
    "stuck": stuck,
    "busy": busy,
    "small-files": small_files,
    "racks-100": hundred,
    "parts-8": parts,
    "parts-8x4": lambda: parts(replicas=4),
    "parts-8-and-2": lambda: parts(whole=2),
}

PRESETS = SMALL_PRESETS | LARGE_PRESETS | {"parts-8-and-60": lambda: parts(whole=60)}
