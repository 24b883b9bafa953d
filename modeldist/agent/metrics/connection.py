"""Whoever reaches the address of the metrics holds little of this node, and not for long."""

from __future__ import annotations

from modeldist.agent.strangers import StrangersConnection

MOST = 64  # connections at once


class ScrapeConnection(StrangersConnection):
    """One connection."""

    @property
    def most(self) -> int:
        return MOST
