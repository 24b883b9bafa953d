"""How long a piece server waits for whom."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ServerTimeouts:
    """Seconds. `hello`: to introduce oneself. `idle`: with nothing subscribed and nothing asked. `silent`: without a
    byte from the child (a live one pings). `stall`: a send without progress."""

    hello: float = 5.0
    idle: float = 60.0
    silent: float = 60.0
    stall: float = 20.0
