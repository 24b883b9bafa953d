"""How long a piece server waits for whom."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ServerTimeouts:
    """Seconds. `hello`: to introduce oneself. `subscribe`: from there to a subscription whose capability holds. `idle`:
    with nothing subscribed any more and nothing asked. `silent`: without a byte from the child (a live one pings).
    `stall`: a send without progress."""

    hello: float = 5.0
    subscribe: float = 10.0
    idle: float = 60.0
    silent: float = 60.0
    stall: float = 20.0
