"""The fluid limit: no schedule ends sooner, however it cuts and routes. The sharpest of several cuts."""

from __future__ import annotations

from modeldist.simulator.scenario import NodeSpec, Scenario


def fluid_bound(scenario: Scenario) -> float:
    """Seconds from the start until the last of the nodes that live could at best be complete.

    Cuts: the origin's link; each node's own link, from when it joined; all bytes received against all that can be
    sent, as nodes join; each rack's uplink.
    """
    fetching = [node for node in scenario.nodes if node.leave is None and not node.holds]
    seeded = any(node.holds for node in scenario.nodes)
    if not fetching:
        return 0.0
    first = min(node.start for node in fetching)
    unique = sum(scenario.shards[index] for index in {index for node in fetching for index in _wants(scenario, node)})
    bounds = [node.start + _size(scenario, node) / node.down for node in fetching]
    if not seeded:
        bounds.append(first + unique / scenario.origin_rate)
        bounds.append(_all_senders(scenario, fetching, first))
        for rack, rate in scenario.rack_rate.items():
            inside = [node for node in fetching if node.rack == rack]
            indices = {index for node in inside for index in _wants(scenario, node)}
            if inside:
                bounds.append(min(n.start for n in inside) + sum(scenario.shards[i] for i in indices) / rate)
    return max(bounds)


def _wants(scenario: Scenario, node: NodeSpec) -> tuple[int, ...]:
    return tuple(range(len(scenario.shards))) if node.wants is None else node.wants


def _size(scenario: Scenario, node: NodeSpec) -> int:
    return sum(scenario.shards[index] for index in _wants(scenario, node))


def _all_senders(scenario: Scenario, fetching: list[NodeSpec], first: float) -> float:
    """When the origin and all nodes that have joined could have sent what all nodes receive."""
    left = float(sum(_size(scenario, node) for node in fetching))
    now, rate = first, scenario.origin_rate
    for node in sorted(fetching, key=lambda node: node.start):
        sent = rate * (node.start - now)
        if sent >= left:
            break
        left -= sent
        now, rate = node.start, rate + node.up
    return now + left / rate
