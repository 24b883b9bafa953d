"""Which nodes of a changing cluster still need something, and when to ask again. Pure; times are in seconds."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Generic, TypeVar

from modeldist.errors import ErrorInfo

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds from a failure to the next try: the agent of a node that has just joined may come up a little later."""


T = TypeVar("T")


class CatchingUp(Generic[T]):
    """Of one thing. `there` (what nodes have) and `failures` (the last one) are of nodes that are alive, by Ray's id;
    `coming` are those that were asked."""

    def __init__(self) -> None:
        self.there: dict[str, T] = {}
        self.failures: dict[str, ErrorInfo] = {}
        self.coming: set[str] = set()
        self._tries: dict[str, int] = {}
        self._not_before: dict[str, float] = {}

    def due(self, alive: Collection[str], now: float) -> list[str]:
        """Nodes to ask now; they are then coming."""
        for gone in self._known() - set(alive):
            self._forget(gone)
        due = [
            node
            for node in alive
            if node not in self.there and node not in self.coming and now >= self._not_before.get(node, now)
        ]
        self.coming.update(due)
        return due

    def ended(self, node: str, answer: T | ErrorInfo, now: float) -> None:
        """What a node that was coming answered."""
        if node not in self.coming:  # it has left the cluster meanwhile
            return
        self.coming.discard(node)
        if not isinstance(answer, ErrorInfo):
            self.there[node] = answer
            self.failures.pop(node, None)
            return
        self.failures[node] = answer
        tries = self._tries[node] = self._tries.get(node, 0) + 1
        pause = min(FIRST_PAUSE * 2.0 ** min(tries - 1, 10), LONGEST_PAUSE)
        self._not_before[node] = now + max(pause, answer.retry_after or 0.0)

    def _known(self) -> set[str]:
        return {*self.there, *self.failures, *self.coming}

    def _forget(self, node: str) -> None:
        self.coming.discard(node)
        tables: tuple[dict[str, Any], ...] = (self.there, self.failures, self._tries, self._not_before)
        for table in tables:
            table.pop(node, None)
