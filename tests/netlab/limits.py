"""The bound of a scenario, by the simulator's own formulas, with measured goodput in the place of the links' rates."""

from __future__ import annotations

from collections.abc import Mapping

from modeldist.simulator import NodeSpec, Scenario
from modeldist.simulator.bound import fluid_bound, node_bound
from tests.netlab.scenario import LabScenario


def simulated(scenario: LabScenario, goodput: Mapping[float, float]) -> Scenario:
    """The scenario as the simulator knows it. `goodput`: rate in Mbit/s -> bytes/s."""
    return _with_deaths(scenario, goodput, fluid_bound(_with_deaths(scenario, goodput, 0.0)))


def _with_deaths(scenario: LabScenario, goodput: Mapping[float, float], bound: float) -> Scenario:
    nodes = tuple(
        NodeSpec(
            node.name,
            goodput[node.up],
            goodput[node.down],
            rack=node.rack,
            start=node.start,
            leave=None if node.dies is None else node.dies * bound,
        )
        for node in scenario.nodes
    )
    uplinks = dict.fromkeys(scenario.racks, goodput[scenario.uplink]) if scenario.uplink else {}
    return Scenario(scenario.name, scenario.shards, nodes, origin_rate=goodput[scenario.origin], rack_rate=uplinks)


def bound(scenario: LabScenario, goodput: Mapping[float, float]) -> float:
    """Seconds from the first pull's start until the last surviving node could at best be complete."""
    return fluid_bound(simulated(scenario, goodput))


def node_bounds(scenario: LabScenario, goodput: Mapping[float, float]) -> dict[str, float]:
    """When each node could at best be complete, in seconds from the first pull's start."""
    as_simulated = simulated(scenario, goodput)
    return {node.name: node_bound(as_simulated, node) for node in as_simulated.nodes}
