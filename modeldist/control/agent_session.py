"""One agent's open session as the control plane sees it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from modeldist.artifact import Digest
from modeldist.control.admission.rooms import NOBODY
from modeldist.control.admission.tasks import Joined
from modeldist.control.outbox import Outbox
from modeldist.session.messages import Hello, Welcome


@dataclass(eq=False, slots=True)
class AgentSession:
    """`artifacts` are those the node holds complete. `resolving` are requests not answered yet. `interval`: seconds
    between reports, as it was told last. `took_over`: other instances that were this node until this one came.
    `joined`: its tasks, and whose token it showed. `holding`: bytes of large answers that it has not taken, by
    request. `away`: it said that it restarts, and is back within so many seconds after the session."""

    hello: Hello
    welcome: Welcome
    outbox: Outbox
    connected_at: float
    heard_at: float
    artifacts: frozenset[Digest]
    took_over: tuple[str, ...] = ()
    interval: float = field(init=False)
    resolving: set[asyncio.Task[None]] = field(default_factory=set)
    joined: Joined = field(default_factory=lambda: Joined(NOBODY))
    holding: dict[int, int] = field(default_factory=dict)
    away: float = 0.0

    def __post_init__(self) -> None:
        self.interval = self.welcome.report_interval

    @property
    def node(self) -> str:
        return self.hello.node
