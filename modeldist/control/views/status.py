"""The control plane itself, and who asks it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StatusView:
    """`uptime` in seconds. `piece_tls`: whether nodes speak TLS with each other: off, prefer, require."""

    version: str
    protocol: int
    cluster: str
    database: str
    uptime: float
    agents: int
    pulls_running: int
    models: int
    tasks: int
    piece_tls: str = "off"


@dataclass(frozen=True)
class TokenView:
    """Whose token asks. `scope`: admin, agent, node, read; `expires_at`: None where it does not expire."""

    name: str
    scope: str
    expires_at: float | None
