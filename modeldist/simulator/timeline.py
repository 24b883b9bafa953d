"""How full the links are in the course of a simulation: where time is lost when R is not what it should be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modeldist.simulator.network import Link
    from modeldist.simulator.node import SimulatedNode
    from modeldist.simulator.world import World


@dataclass(frozen=True, slots=True)
class Sample:
    """Shares of a stretch of time that ended at `at` seconds: what links carried over what they could have carried.
    `up` and `down`: the mean of the nodes that had not finished when it began. `complete`: nodes that have it all."""

    at: float
    origin: float
    up: float
    down: float
    complete: int


class Timeline:
    """Looks at a world every `every` seconds of its time. A transfer counts when it ends."""

    def __init__(self, every: float = 0.5) -> None:
        self.every = every
        self.samples: list[Sample] = []
        self._carried: dict[Link, int] = {}
        self._fetching: list[SimulatedNode] = []

    def watch(self, world: World) -> None:
        """From now on."""
        self._fetching = [node for node in world.nodes.values() if node.finished is None]
        self._carried = {link: link.carried for link in self._links(world)}
        world.clock.after(self.every, lambda: self._sample(world))

    @staticmethod
    def _links(world: World) -> Iterator[Link]:
        yield world.origin_link
        for node in world.nodes.values():
            yield from (node.up, node.down)

    def _sample(self, world: World) -> None:
        used = {
            link: (link.carried - self._carried[link]) / (link.rate * self.every) if link.rate else 0.0
            for link in self._links(world)
        }
        count = max(1, len(self._fetching))
        self.samples.append(
            Sample(
                at=world.clock.now,
                origin=used[world.origin_link],
                up=sum(used[node.up] for node in self._fetching) / count,
                down=sum(used[node.down] for node in self._fetching) / count,
                complete=sum(node.finished is not None for node in world.nodes.values()),
            )
        )
        self.watch(world)

    def table(self) -> str:
        """A row for each sample, in percent."""
        head = f"{'until s':>8}{'origin':>8}{'uplinks':>9}{'downlinks':>11}{'complete':>10}"
        rows = (
            f"{sample.at:>8.1f}{sample.origin:>8.0%}{sample.up:>9.0%}{sample.down:>11.0%}{sample.complete:>10}"
            for sample in self.samples
        )
        return "\n".join((head, *rows))
