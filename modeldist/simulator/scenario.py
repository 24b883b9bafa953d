"""What to simulate. Sizes in bytes, rates in bytes/s, times in seconds of virtual time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from modeldist.scheduler.messages import Priority
from modeldist.scheduler.phase1 import Phase1Config
from modeldist.scheduler.phase2 import Phase2Config
from modeldist.scheduler.pieces import PieceLayout, PieceSet, piece_size_for


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """One node.

    `start`: when it joins. `leave`: when it dies without a word. `stuck`: from when on its origin reads stand still.
    `busy`: from..to, it answers every request with busy. `wants`: indices of the shards it pulls (None: all).
    `holds`: it has everything from the beginning. `part`: (index, count), of each shard it wants it needs the pieces
    with a byte of this one of `count` equal parts, as a rank of a model does.
    """

    name: str
    up: float
    down: float
    rack: str = ""
    zone: str = ""
    start: float = 0.0
    leave: float | None = None
    stuck: float | None = None
    busy: tuple[float, float] | None = None
    wants: tuple[int, ...] | None = None
    holds: bool = False
    part: tuple[int, int] | None = None
    priority: Priority = Priority.PULL


@dataclass(frozen=True, slots=True)
class Scenario:
    """`rack_rate`: each rack's uplink, per direction (a rack without an entry has none to share). The origin sits
    outside all racks. `latency`: one way between nodes; `session_latency`: one way to the control plane, including the
    time to handle a message; `origin_latency`: from a range request to its first byte. `have_interval`: least time
    between two rounds in which a node tells its children what it has; `leisure`: what news of a piece that nobody waits
    for may take. `verify_rate`: bytes/s of digest checking. `stream_rate`: what one origin stream can bring at most.
    `stream_spread`: how unequal nodes' origin streams are beside other flows, as the standard deviation of the
    logarithm of their weights (`network` only): in TCP a node's streams may get a third of what those of another get.
    `line_rates`: whether nodes tell theirs; shaped links, as of virtual machines, look faster than they are.
    `quantum`: see `network`; `step`: if it is not 0, `array_network` with this step takes its place. `tick`,
    `control_tick`: how often nodes and the control plane act upon time alone.
    """

    name: str
    shards: tuple[int, ...]
    nodes: tuple[NodeSpec, ...]
    origin_rate: float
    rack_rate: Mapping[str, float] = field(default_factory=dict)
    stream_rate: float = float("inf")
    stream_spread: float = 0.0
    latency: float = 0.0005
    session_latency: float = 0.005
    have_interval: float = 0.02  # this and the next as `modeldist.transfer.served_shard` has them
    leisure: float = 1.0
    origin_latency: float = 0.005
    verify_rate: float = 2e9
    report_interval: float = 1.0
    line_rates: bool = True
    tick: float = 0.1
    control_tick: float = 0.1
    quantum: float = 0.001
    step: float = 0.0
    limit: float = 3600.0
    seed: int = 1
    piece_size: int = 0  # 0: the scheduler's own choice
    phase1: Phase1Config = field(default_factory=Phase1Config)
    phase2: Phase2Config = field(default_factory=Phase2Config)

    def layout(self, shard: int) -> PieceLayout:
        """How a shard is cut."""
        size = self.shards[shard]
        line_rate = self.nodes[0].up if self.nodes else None
        return PieceLayout(size, self.piece_size or piece_size_for(size, line_rate))

    def pieces(self, node: NodeSpec, shard: int) -> PieceSet:
        """What a node wants of a shard that it wants."""
        layout = self.layout(shard)
        if node.part is None:
            return layout.all
        index, count = node.part
        return layout.touching([(layout.size * index // count, layout.size * (index + 1) // count)])
