"""Control plane, network and nodes wired together."""

from __future__ import annotations

import gc
import random
from collections.abc import Iterable
from typing import TYPE_CHECKING

from modeldist.artifact import Digest
from modeldist.scheduler.messages import Event, Instruction
from modeldist.scheduler.phase1 import Phase1
from modeldist.simulator.bound import fluid_bound, node_bound, unique_bytes
from modeldist.simulator.clock import Clock
from modeldist.simulator.network import Flow, Link, Network
from modeldist.simulator.node import SimulatedNode
from modeldist.simulator.result import NodeResult, Result
from modeldist.simulator.scenario import NodeSpec, Scenario
from modeldist.simulator.timeline import Timeline

if TYPE_CHECKING:
    from modeldist.simulator.array_network import ArrayNetwork

ORIGIN = "origin"


class World:
    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.clock = Clock()
        self.network = _network(self.clock, scenario)
        self.phase1 = Phase1(scenario.phase1, random.Random(scenario.seed))
        self.tasks = {Digest(f"sha256:{index:064x}"): scenario.layout(index) for index in range(len(scenario.shards))}
        self.origin_link = Link(ORIGIN, scenario.origin_rate)
        self.rack_in = {rack: Link(f"{rack} in", rate) for rack, rate in scenario.rack_rate.items()}
        self.rack_out = {rack: Link(f"{rack} out", rate) for rack, rate in scenario.rack_rate.items()}
        self.nodes: dict[str, SimulatedNode] = {}
        self.messages = 0
        self._flows: dict[tuple[str, str], Flow] = {}
        self._unfinished = sum(spec.leave is None for spec in scenario.nodes)
        for number, spec in enumerate(scenario.nodes):
            self._plan(spec, number)

    def _plan(self, spec: NodeSpec, number: int) -> None:
        node = SimulatedNode(self, spec, random.Random(self.scenario.seed * 1_000_003 + number))
        self.nodes[spec.name] = node
        self.clock.at(spec.start, node.start)
        if spec.leave is not None:
            self.clock.at(spec.leave, node.die)

    # --- paths -----------------------------------------------------------------------------------------------------

    def flow(self, parent: SimulatedNode, child: SimulatedNode) -> Flow:
        """The one connection between two nodes, in this direction."""
        key = (parent.name, child.name)
        flow = self._flows.get(key)
        if flow is None:
            links = [parent.up]
            if parent.spec.rack != child.spec.rack:
                links += [link for link in (self.rack_out.get(parent.spec.rack),) if link is not None]
                links += [link for link in (self.rack_in.get(child.spec.rack),) if link is not None]
            flow = self._flows[key] = Flow((*links, child.down))
        return flow

    def origin_flow(self, node: SimulatedNode) -> Flow:
        """A new stream from the origin."""
        rack = self.rack_in.get(node.spec.rack)
        links = (self.origin_link, *([rack] if rack is not None else []), node.down)
        return Flow(links, cap=self.scenario.stream_rate, weight=node.stream_weight)

    def cut(self, name: str) -> None:
        """All connections from and to a node are gone."""
        for key in [key for key in self._flows if name in key]:
            self.network.stop(self._flows.pop(key))

    # --- the session -----------------------------------------------------------------------------------------------

    def tell_control(self, node: SimulatedNode, event: Event) -> None:
        """An event on its way to phase 1."""

        def arrive() -> None:
            if node.alive:
                self.deliver(self.phase1.handle(node.name, event, self.clock.now))

        self.clock.after(self.scenario.session_latency, arrive)

    def deliver(self, told: Iterable[tuple[str, Instruction]]) -> None:
        """Instructions on their way to the nodes."""
        for name, instruction in told:
            self.messages += 1
            node = self.nodes[name]
            self.clock.after(self.scenario.session_latency, lambda n=node, i=instruction: n.instructed(i))  # type: ignore[misc]

    def finished(self, node: SimulatedNode) -> None:
        if node.spec.leave is None:
            self._unfinished -= 1

    def _tick(self) -> None:
        self.deliver(self.phase1.tick(self.clock.now))
        self.clock.after(self.scenario.control_tick, self._tick)

    def run(self, timeline: Timeline | None = None) -> Result:
        self.clock.after(self.scenario.control_tick, self._tick)
        if timeline is not None:
            timeline.watch(self)
        self.clock.run(lambda: self._unfinished == 0, self.scenario.limit)
        live = [node for node in self.nodes.values() if node.spec.leave is None]
        return Result(
            name=self.scenario.name,
            seconds=max((node.finished or self.clock.now for node in live), default=0.0),
            bound=fluid_bound(self.scenario),
            unique_bytes=unique_bytes(self.scenario, [node.spec for node in live]),
            origin_bytes=round(sum(node.origin_bytes for node in self.nodes.values())),
            wasted_bytes=sum(node.wasted_bytes for node in self.nodes.values()),
            nodes=tuple(
                NodeResult(
                    node=node.name,
                    started=node.spec.start,
                    finished=node.finished,
                    bound=node_bound(self.scenario, node.spec),
                    from_origin=round(node.origin_bytes),
                    from_peers=node.peer_bytes,
                    sent=node.up.carried,
                )
                for node in self.nodes.values()
            ),
            rack_in={rack: link.carried for rack, link in self.rack_in.items()},
            rack_out={rack: link.carried for rack, link in self.rack_out.items()},
            complete=self._unfinished == 0,
            events=self.clock.events,
            messages=self.messages,
        )


def _network(clock: Clock, scenario: Scenario) -> Network | ArrayNetwork:
    if not scenario.step:
        return Network(clock, scenario.quantum)
    from modeldist.simulator.array_network import ArrayNetwork  # needs numpy

    return ArrayNetwork(clock, scenario.step)


def simulate(scenario: Scenario, timeline: Timeline | None = None) -> Result:
    """Run `scenario` to the end (all nodes that do not die complete) or to its time limit. `timeline` watches it."""
    collecting = gc.isenabled()
    gc.disable()  # what dies here is not cyclic, and there are millions of live objects to look through
    try:
        return World(scenario).run(timeline)
    finally:
        if collecting:
            gc.enable()
