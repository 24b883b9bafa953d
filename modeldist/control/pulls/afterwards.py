"""Where the time of pulls went that have ended, for those who ask afterwards: of the newest, in memory alone.

The database keeps how a pull ended. What its nodes waited for is worth asking for some days at most, and is lost with
the process. What is remembered is kept encoded: a node's takes a few hundred bytes, and exactly as many as are counted.
"""

from __future__ import annotations

from dataclasses import replace
from heapq import nlargest

import msgspec

from modeldist.control.pulls.pull import Pull, PullNode
from modeldist.explain import Where

MOST_BYTES = 8 << 20  # of all pulls: some 20,000 nodes that were explained
MOST_NODES = 5000  # of one pull, the slowest


class _Spent(msgspec.Struct, frozen=True, array_like=True):
    """Of one node; `seconds` that the pull took there."""

    node: str
    seconds: float
    where: Where


class Afterwards:
    """`most` in bytes: the pulls that ended first are forgotten for those that ended last."""

    def __init__(self, most: int = MOST_BYTES) -> None:
        self._most = most
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(list[_Spent])
        self._of: dict[str, bytes] = {}
        self.size = 0

    def remember(self, ended: Pull) -> None:
        told = [
            _Spent(node.node, node.seconds, node.where) for node in ended.nodes.values() if node.where and node.ended
        ]
        if not told:
            return
        kept = self._encoder.encode(_slowest(told, MOST_NODES))
        while len(kept) > self._most and len(told) > 1:
            told = _slowest(told, len(told) // 2)
            kept = self._encoder.encode(told)
        self._forget(ended.id)
        self._of[ended.id] = kept
        self.size += len(kept)
        while self.size > self._most:
            self._forget(next(iter(self._of)))

    def recall(self, ended: Pull) -> None:
        """Tell a pull, as the database has it, where the time of its nodes went, of as many as that is known of."""
        for spent in self._decoder.decode(self._of[ended.id]) if ended.id in self._of else ():
            if (node := ended.nodes.get(spent.node)) is not None:
                ended.nodes[spent.node] = _told(node, spent)

    def _forget(self, pull: str) -> None:
        self.size -= len(self._of.pop(pull, b""))


def _told(node: PullNode, spent: _Spent) -> PullNode:
    return replace(node, seconds=spent.seconds, where=spent.where)


def _slowest(told: list[_Spent], most: int) -> list[_Spent]:
    return nlargest(most, told, key=lambda spent: spent.seconds)
