"""The fluid limit: no schedule ends sooner, however it cuts and routes. The sharpest of several cuts.

Put a line anywhere through the network with something wanted on one side and not there: what has to cross it, over the
rate at which anything can, is a lower bound of the time. Nodes i want sets of bytes W_i (any shards, or parts of them):

    around node i                its own downlink:             |W_i| / d_i
    before the origin            each wanted byte once:        |union of W_i| / u_origin
    before rack r, outside it    what anybody inside wants:    |union of W_i, i in r| / C_r
    around all receivers         what all receive came out of some uplink: sum |W_i| / (u_origin + sum u_i)

Nodes that join later shift a cut by the first join inside it; in the last one, uplinks count from when they are there.
"""

from __future__ import annotations

from modeldist.scheduler.pieces import PieceSet
from modeldist.simulator.scenario import NodeSpec, Scenario


def fluid_bound(scenario: Scenario) -> float:
    """Seconds from the start until the last of the nodes that live could at best be complete.

    Cuts: each node by itself; the origin's link; each rack's uplink; all bytes received against all that can be sent as
    nodes join.
    """
    fetching = [node for node in scenario.nodes if _fetches(node)]
    bounds = [node_bound(scenario, node) for node in fetching]
    if fetching and not any(node.holds for node in scenario.nodes):
        first = min(node.start for node in fetching)
        bounds.append(first + unique_bytes(scenario, fetching) / scenario.origin_rate)
        bounds.append(_all_senders(scenario, fetching, first))
        for rack, rate in scenario.rack_rate.items():
            inside = [node for node in fetching if node.rack == rack]
            if inside:
                bounds.append(min(node.start for node in inside) + unique_bytes(scenario, inside) / rate)
    return max(bounds, default=0.0)


def node_bound(scenario: Scenario, node: NodeSpec) -> float:
    """When this node could at best be complete if all were done for it: its own link from when it joined, and what it
    wants over the origin's link from when the first joined."""
    own = node.start + _size(scenario, node) / node.down
    if any(other.holds for other in scenario.nodes):
        return own
    first = min(other.start for other in scenario.nodes if _fetches(other))
    return max(own, first + unique_bytes(scenario, [node]) / scenario.origin_rate)


def _fetches(node: NodeSpec) -> bool:
    return node.leave is None and not node.holds


def unique_bytes(scenario: Scenario, nodes: list[NodeSpec]) -> int:
    """What these want, each byte once."""
    whole = {index for node in nodes if node.part is None for index in _wants(scenario, node)}
    parts: dict[int, PieceSet] = {}
    for node in nodes:
        for index in _wants(scenario, node) if node.part is not None else ():
            parts[index] = parts.get(index, PieceSet()) | scenario.pieces(node, index)
    in_part = sum(scenario.layout(index).bytes_of(pieces) for index, pieces in parts.items() if index not in whole)
    return in_part + sum(scenario.shards[index] for index in whole)


def _wants(scenario: Scenario, node: NodeSpec) -> tuple[int, ...]:
    return tuple(range(len(scenario.shards))) if node.wants is None else node.wants


def _size(scenario: Scenario, node: NodeSpec) -> int:
    if node.part is not None:
        return unique_bytes(scenario, [node])
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
