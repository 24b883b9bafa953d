"""What a measurement consists of."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """Sizes in bytes, times in seconds.

    `swarm`: members of each shard task that everybody on it knows. `asks`: pulls started per second, by all agents
    together, from the first second to the last. `pioneers`: the share of agents that is there before all others
    connect at the same moment. `interval`: between two reports of an agent; None: as the control plane says.
    `stopped`: agents that read nothing any more once the measured time begins. `pull_seconds`: how long a pull takes.
    """

    agents: int = 5000
    seconds: float = 60.0
    interval: float | None = None
    asks: float = 200.0
    swarm: int = 500
    shard_size: int = 8192 * MIB
    pull_seconds: float = 40.0
    rack: int = 16
    racks_per_zone: int = 16
    pioneers: float = 0.05
    stopped: int = 0
    settle: float = 5.0
    server_core: int | None = 0  # None: wherever it runs
    agents_core: int | None = 1
    seed: int = 1

    @property
    def tasks(self) -> int:
        return max(1, round(self.agents / self.swarm))
