"""What to run in the lab. Rates in Mbit/s as links are sold (inf: not shaped), sizes in bytes, times in seconds."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class LabNode:
    """One node. `start`: when its pull begins, after the first; `dies`: kill -9, at this fraction of the bound."""

    name: str
    up: float
    down: float
    rack: str = ""
    start: float = 0.0
    dies: float | None = None


@dataclass(frozen=True, slots=True)
class Bar:
    """What the median of a figure may be at most. `figure` is a field of `figures.Run`."""

    figure: str
    at_most: float


@dataclass(frozen=True, slots=True)
class LabScenario:
    """`origin`: rate of the origin's link, both ways. `uplink`: rate of each rack's uplink, both ways (None: racks are
    joined without a limit). `rivals`: whether others can be measured in it (nobody dies or comes late)."""

    name: str
    says: str
    shards: tuple[int, ...]
    nodes: tuple[LabNode, ...]
    origin: float
    uplink: float | None = None
    bars: tuple[Bar, ...] = ()
    rivals: bool = True

    @property
    def size(self) -> int:
        return sum(self.shards)

    @property
    def racks(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(node.rack for node in self.nodes if node.rack))

    @property
    def rates(self) -> tuple[float, ...]:
        """All rates that occur, each once."""
        links = [rate for node in self.nodes for rate in (node.up, node.down)]
        return tuple(dict.fromkeys([*links, self.origin, *([self.uplink] if self.uplink else [])]))
