"""A lease being read from the origin: one request, then its pieces one after another on one stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modeldist.artifact import Digest

if TYPE_CHECKING:
    from modeldist.simulator.node import SimulatedNode


class Reader:
    def __init__(self, node: SimulatedNode, task: Digest, lease: int, start: int, count: int) -> None:
        self.node = node
        self.task = task
        self.lease = lease
        world = node.world
        self._flow = world.origin_flow(node)
        self._stopped = False
        self._done = 0
        self._pieces = [piece for piece in range(start, start + count) if not node.have[task] >> piece & 1]
        world.clock.after(world.scenario.origin_latency, self._request)

    @property
    def bytes_read(self) -> float:
        return self._done + self.node.world.network.sent_of_head(self._flow)

    def _request(self) -> None:
        if self._stopped:
            return
        if not self._pieces:
            self.node.lease_over(self)
        for piece in self._pieces:
            self.node.world.network.send(self._flow, self._length(piece), lambda p=piece: self._arrived(p))  # type: ignore[misc]

    def _length(self, piece: int) -> int:
        return self.node.world.tasks[self.task].length(piece)

    def _arrived(self, piece: int) -> None:
        node, world = self.node, self.node.world
        if node.spec.stuck is not None and world.clock.now >= node.spec.stuck:
            world.network.stop(self._flow)
            return
        size = self._length(piece)
        self._done += size
        node.origin_bytes += size
        world.clock.after(size / world.scenario.verify_rate, lambda: node.read(self, piece))
        if piece == self._pieces[-1]:
            node.lease_over(self)

    def stop(self) -> None:
        if not self._stopped:
            self._stopped = True
            self.node.origin_bytes += self.node.world.network.sent_of_head(self._flow)
            self.node.world.network.stop(self._flow)
