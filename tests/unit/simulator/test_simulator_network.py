"""Virtual time and the fluid network."""

from __future__ import annotations

import random

import pytest

from modeldist.simulator.array_network import ArrayNetwork
from modeldist.simulator.bound import fluid_bound, node_bound
from modeldist.simulator.clock import Clock
from modeldist.simulator.network import Flow, Link, Network
from modeldist.simulator.scenario import NodeSpec, Scenario


def times(flows: list[tuple[Flow, int]], clock: Clock, network: Network | ArrayNetwork) -> list[float]:
    done: dict[int, float] = {}
    for index, (flow, size) in enumerate(flows):
        network.send(flow, size, lambda i=index: done.setdefault(i, clock.now))  # type: ignore[misc]
    clock.run(lambda: False, 1000.0)
    return [done[index] for index in range(len(flows))]


def test_things_happen_in_order_until_the_limit() -> None:
    clock, seen = Clock(), []
    clock.at(2.0, lambda: seen.append("b"))
    clock.at(1.0, lambda: seen.append("a"))
    clock.at(9.0, lambda: seen.append("never"))
    clock.run(lambda: False, 5.0)
    assert seen == ["a", "b"]
    assert clock.now == 5.0


def test_flows_share_a_link_fairly_and_one_takes_what_another_cannot_use() -> None:
    clock = Clock()
    network = Network(clock, 0.0)
    shared, narrow = Link("shared", 100.0), Link("narrow", 20.0)
    assert times([(Flow((shared, narrow)), 20), (Flow((shared,)), 80)], clock, network) == pytest.approx([1.0, 1.0])
    assert shared.carried == 100


def test_what_is_queued_on_a_flow_comes_in_order_and_a_capped_flow_keeps_to_its_cap() -> None:
    clock = Clock()
    network = Network(clock, 0.0)
    link = Link("link", 100.0)
    first = Flow((link,), cap=10.0)
    assert times([(first, 10), (first, 10), (Flow((link,)), 90)], clock, network) == pytest.approx([1.0, 2.0, 1.0])


def test_flows_share_a_link_after_their_weights_and_a_light_one_keeps_to_its_cap() -> None:
    clock = Clock()
    network = Network(clock, 0.0)
    link = Link("link", 100.0)
    flows = [(Flow((link,), weight=0.5), 20), (Flow((link,)), 40), (Flow((link,), weight=2.0, cap=40.0), 40)]
    assert times(flows, clock, network) == pytest.approx([1.0, 1.0, 1.0])


def test_a_stopped_flow_brings_nothing_more() -> None:
    clock = Clock()
    network = Network(clock, 0.0)
    flow, other, seen = Flow((link := Link("link", 100.0),)), Flow((link,)), []
    network.send(flow, 100, lambda: seen.append("stopped"))
    network.send(other, 75, lambda: seen.append(clock.now))
    clock.at(1.0, lambda: seen.append(round(network.sent_of_head(flow))))
    clock.at(1.0, lambda: network.stop(flow))
    clock.run(lambda: False, 10.0)
    assert seen == [50, pytest.approx(1.25)]
    assert network.sent_of_head(flow) == 0.0


def scenario(*nodes: NodeSpec, **fields: object) -> Scenario:
    return Scenario("test", (1000,), nodes, **{"origin_rate": 100.0, **fields})  # type: ignore[arg-type]


def test_the_bound_is_the_sharpest_of_the_cuts() -> None:
    fast = NodeSpec("fast", 100.0, 100.0)
    assert fluid_bound(scenario(fast)) == 10.0
    assert fluid_bound(scenario(fast, origin_rate=10.0)) == 100.0
    assert fluid_bound(scenario(fast, NodeSpec("slow", 100.0, 5.0))) == 200.0
    assert node_bound(scenario(fast, NodeSpec("slow", 100.0, 5.0)), fast) == 10.0
    mute = [NodeSpec(f"n{index}", 0.0, 1000.0) for index in range(4)]
    assert fluid_bound(scenario(*mute)) == 40.0
    late = NodeSpec("late", 100.0, 100.0, start=7.0)
    assert fluid_bound(scenario(fast, late)) == 17.0
    racked = NodeSpec("racked", 100.0, 100.0, rack="r")
    assert fluid_bound(scenario(racked, rack_rate={"r": 50.0})) == 20.0
    seed = NodeSpec("seed", 100.0, 100.0, holds=True)
    assert fluid_bound(scenario(seed, NodeSpec("n", 1.0, 1000.0), origin_rate=1.0)) == 1.0
    assert fluid_bound(scenario(seed)) == 0.0


def array_network(clock: Clock) -> ArrayNetwork:
    return ArrayNetwork(clock, 0.01)


@pytest.mark.parametrize("seed", range(5))
def test_arrays_give_the_same_shares_as_the_heap(seed: int) -> None:
    chance = random.Random(seed)
    ends = []
    for build in (lambda clock: Network(clock, 0.0), lambda clock: ArrayNetwork(clock, 0.001)):
        chance.seed(seed)
        clock, links = Clock(), [Link(f"l{index}", chance.uniform(50, 200)) for index in range(6)]
        flows = [
            (Flow(tuple(chance.sample(links, chance.randint(1, 3))), cap=chance.choice((30.0, float("inf")))), 100)
            for _ in range(20)
        ]
        ends.append(times(flows, clock, build(clock)))
    assert ends[1] == pytest.approx(ends[0], rel=0.02, abs=0.05)


def test_a_stopped_flow_in_arrays_brings_nothing_more_and_its_place_is_used_again() -> None:
    clock = Clock()
    network = array_network(clock)
    flow, other, seen = Flow((link := Link("link", 100.0),)), Flow((link,)), []
    network.send(flow, 100, lambda: seen.append("stopped"))
    network.send(other, 75, lambda: seen.append("other"))
    clock.at(1.0, lambda: seen.append(round(network.sent_of_head(flow), -1)))
    clock.at(1.0, lambda: network.stop(flow))
    clock.at(1.1, lambda: network.send(Flow((link,)), 10, lambda: seen.append("third")))
    clock.run(lambda: False, 10.0)
    assert seen == [50, "third", "other"]
    assert network.sent_of_head(flow) == 0.0
    assert link.carried == 85
