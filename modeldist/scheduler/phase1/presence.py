"""Nodes that are away: whose session broke, and whom a restarted control plane waits for."""

from __future__ import annotations

from collections.abc import Iterable

from modeldist.scheduler.phase1.config import Phase1Config


class Presence:
    """Remembers until when a node that is away is believed in. Times in seconds, as handed in."""

    def __init__(self, config: Phase1Config) -> None:
        self._config = config
        self._until: dict[str, float] = {}  # node -> when what it does not confirm is given up
        self._lost_at: dict[str, float] = {}
        self._away: dict[str, float] = {}  # node -> until when it said that it would be back
        self._doubted_at: dict[str, float] = {}  # node -> when a child last got nothing from it
        self._expected: set[str] = set()
        self._wait_until = float("-inf")
        self.before: int | None = None  # how many nodes had sessions before the start; None: nobody knows

    def lost(self, node: str, now: float) -> None:
        """Its session broke."""
        self._lost_at[node] = now
        self._until[node] = max(now + self._config.reconnect_grace, self._away.get(node, now))
        # A killed process loses all its connections at once, and its child may be the first to say so.
        if now - self._doubted_at.get(node, float("-inf")) <= self._config.doubted_grace:
            self.doubted(node, now)

    def away(self, node: str, until: float, now: float) -> None:
        """Its session is over, and it is going to be back."""
        self._away[node] = until
        self.lost(node, now)

    def coming_back(self) -> Iterable[str]:
        """Those who are away and said so, and those of them who are back and have not said all they have to say."""
        return self._away

    def doubted(self, node: str, now: float) -> None:
        """A child cannot get anything from it."""
        self._doubted_at[node] = now
        if node in self._away:
            return
        if (lost_at := self._lost_at.get(node)) is not None:
            self._until[node] = min(self._until[node], lost_at + self._config.doubted_grace)

    def back(self, node: str, now: float) -> None:
        """It has a session again, and some time to say what it holds."""
        if self._lost_at.pop(node, None) is not None:
            self._until[node] = max(now + self._config.reconnect_grace, self._away.get(node, now))

    def confirmed(self, node: str) -> None:
        """It has said all it has to say, or is gone for good."""
        self._until.pop(node, None)
        self._lost_at.pop(node, None)
        self._away.pop(node, None)
        self._doubted_at.pop(node, None)
        self._expected.discard(node)

    def overdue(self, now: float) -> list[str]:
        """Nodes whose time is over."""
        return [node for node, until in self._until.items() if until <= now]

    def expect(self, nodes: Iterable[str], now: float) -> None:
        """They had sessions before the control plane was started again."""
        self._expected = set(nodes)
        self.before = len(self._expected)
        self._wait_until = now + self._config.return_grace + self._config.return_seconds * len(self._expected)

    def waiting(self, now: float) -> bool:
        """Whether some node may still say that it reads or holds what looks free."""
        return bool(self._expected) and now < self._wait_until
