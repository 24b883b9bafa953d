"""The scenarios with names, and their bars."""

from __future__ import annotations

from tests.netlab.scenario import MIB, Bar, LabNode, LabScenario

_ONCE = Bar("a", 1.0001)
"""A = 1.00: not one piece twice (the smallest piece is 1/1000 of a shard)."""


def _equal(count: int, rate: float) -> tuple[LabNode, ...]:
    return tuple(LabNode(f"n{index}", rate, rate) for index in range(count))


def _racks(count: int, each: int, rate: float) -> tuple[LabNode, ...]:
    return tuple(LabNode(f"n{index}", rate, rate, rack=f"r{index // each}") for index in range(count * each))


def _arriving(count: int, rate: float, seconds: float) -> tuple[LabNode, ...]:
    return tuple(LabNode(f"n{i}", rate, rate, start=i * seconds / (count - 1)) for i in range(count))


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        LabScenario(
            "cold-8",
            "256 MiB to 8 nodes at once, 200 Mbit links",
            (256 * MIB,),
            _equal(8, 200),
            200,
            bars=(Bar("r", 1.08), _ONCE),
        ),
        LabScenario(
            "cold-16",
            "128 MiB to 16 nodes at once, 100 Mbit links",
            (128 * MIB,),
            _equal(16, 100),
            100,
            bars=(Bar("r", 1.12), _ONCE),
        ),
        LabScenario(
            "arrivals",
            "12 shards of 4 to 59 MiB, 8 nodes joining over 5 s, 200 Mbit links",
            tuple((4 + 5 * index) * MIB for index in range(12)),
            _arriving(8, 200, 5.0),
            200,
            bars=(Bar("r", 1.12), _ONCE),
            rivals=False,
        ),
        LabScenario(
            "slow-origin",
            "256 MiB to 8 nodes of 200 Mbit, the origin's link 50 Mbit",
            (256 * MIB,),
            _equal(8, 200),
            50,
            bars=(Bar("r", 1.08), _ONCE),
        ),
        LabScenario(
            "racks",
            "256 MiB to 2 racks of 4 nodes of 200 Mbit, uplinks 200 Mbit (4:1)",
            (256 * MIB,),
            _racks(2, 4, 200),
            200,
            uplink=200,
            bars=(Bar("uplink", 1.10), Bar("r", 1.10), _ONCE),
        ),
        LabScenario(
            "stragglers",
            "256 MiB to 8 nodes of 200 Mbit, but one uploads and another downloads at 50 Mbit",
            (256 * MIB,),
            (*_equal(6, 200), LabNode("slow-up", 50, 200), LabNode("slow-down", 200, 50)),
            200,
            bars=(Bar("others", 1.10), _ONCE),
        ),
        LabScenario(
            "kill",
            "256 MiB to 8 nodes of 200 Mbit, two of them killed (kill -9) at half time",
            (256 * MIB,),
            (*_equal(6, 200), *(LabNode(f"dies{index}", 200, 200, dies=0.5) for index in range(2))),
            200,
            bars=(Bar("r", 1.20), Bar("a", 1.02)),
            rivals=False,
        ),
        LabScenario("smoke", "8 MiB to 3 nodes, 1 Gbit links", (8 * MIB,), _equal(3, 1000), 1000, bars=(_ONCE,)),
    )
}

MEASURED = tuple(name for name in SCENARIOS if name != "smoke")
