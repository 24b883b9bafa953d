"""A pull without its nodes one by one: a list of them must not have all nodes of all pulls in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from modeldist.control.pulls.pull import Pull


@dataclass(frozen=True, slots=True)
class Brief:
    """`states`: how many nodes are in each. Bytes of all nodes together. `pull` may have no nodes."""

    pull: Pull
    states: Mapping[str, int]
    total: int
    origin: int
    peers: int
    local: int

    @property
    def id(self) -> str:
        return self.pull.id


def brief_of(pull: Pull) -> Brief:
    nodes = pull.nodes.values()
    return Brief(
        pull,
        Counter(node.state for node in nodes),
        sum(node.bytes_total for node in nodes),
        sum(node.bytes_origin for node in nodes),
        sum(node.bytes_peers for node in nodes),
        sum(node.bytes_local for node in nodes),
    )
