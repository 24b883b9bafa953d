"""The scheduler on a network that does not exist: the production `Phase1` and `Phase2` in virtual time.

`simulate(scenario) -> Result`; `python -m modeldist.simulator --help` for the named scenarios. May import scheduler and
artifact only.

    clock.py      virtual time: a heap of things to happen
    network.py    links shared max-min fairly by flows
    array_network.py  the same for tens of thousands of flows
    scenario.py   what to simulate: nodes, shards, rates, faults
    presets.py    scenarios with names; large_presets.py: those of hundreds of nodes and more
    node.py       one agent: its phase 2, what it holds, whom it serves
    reader.py     origin leases being read
    world.py      control plane, network and nodes wired together
    bound.py      the fluid limit that no schedule can beat
    result.py     what came of it
    plots.py      charts of it
"""

from modeldist.scheduler.phase1 import Phase1Config
from modeldist.scheduler.phase2 import Phase2Config
from modeldist.simulator.result import NodeResult, Result
from modeldist.simulator.scenario import NodeSpec, Scenario
from modeldist.simulator.world import simulate

__all__ = ["NodeResult", "NodeSpec", "Phase1Config", "Phase2Config", "Result", "Scenario", "simulate"]
