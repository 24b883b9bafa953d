"""Embedded mode: the control plane inside the process that pulls. No server, no database, no configuration."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from modeldist.artifact import Artifact
from modeldist.control.agent_session import AgentSession
from modeldist.control.core import TICK, ControlCore, core_class
from modeldist.control.ports import Clock, IssuesCapabilities, Resolves, Scheduler
from modeldist.control.resolver import Held, MemoryCatalogue, Resolver
from modeldist.errors import ControlPlaneRefused, ControlPlaneUnreachable
from modeldist.session.messages import FromAgent, FromControl, Hello, Welcome


class InProcessControl:
    """A `modeldist.session.link.ControlLink` whose other end is in this process.

    `origins` resolves references and stays the caller's to close. `clock` is monotonic seconds. `held` finds artifacts
    in the node's own store by digest, so that a model which is already here costs one HEAD. Without `capabilities`
    piece servers need none. Several sessions may be open at once (one per engine).
    """

    def __init__(
        self,
        origins: Resolves,
        clock: Clock,
        *,
        held: Held | None = None,
        capabilities: IssuesCapabilities | None = None,
        scheduler: Scheduler | None = None,
        tick_interval: float = TICK,
        accepts: Callable[[Artifact], bool] = lambda artifact: True,
    ) -> None:
        self._core = core_class()(
            scheduler=scheduler or _phase1(),
            resolver=Resolver(origins, MemoryCatalogue(held), clock, accepts),
            clock=clock,
            capabilities=capabilities,
        )
        self._tick_interval = tick_interval
        self._open = 0
        self._ticks: asyncio.Task[None] | None = None

    @property
    def core(self) -> ControlCore:
        return self._core

    @asynccontextmanager
    async def open(self, hello: Hello) -> AsyncIterator[InProcessSession]:
        """Raises ControlPlaneRefused."""
        session = self._core.connect(hello)
        self._open += 1
        if self._ticks is None:
            self._ticks = asyncio.create_task(self._core.run_ticks(self._tick_interval), name="control ticks")
        try:
            yield InProcessSession(self._core, session)
        finally:
            self._core.disconnect(session, "closed by the agent")
            self._open -= 1
            if not self._open:
                await self._stop()

    async def _stop(self) -> None:
        ticks, self._ticks = self._ticks, None
        if ticks is not None:
            ticks.cancel()
            await asyncio.gather(ticks, return_exceptions=True)
        await self._core.close()


class InProcessSession:
    """A `modeldist.session.link.Session`: messages are passed, never encoded."""

    def __init__(self, core: ControlCore, session: AgentSession) -> None:
        self._core = core
        self._session = session

    @property
    def welcome(self) -> Welcome:
        return self._session.welcome

    async def send(self, message: FromAgent) -> None:
        """Raises ControlPlaneUnreachable once the session is over."""
        if (reason := self._session.outbox.closed) is not None:
            raise ControlPlaneUnreachable(f"The session with the control plane is over: {reason}.")
        try:
            self._core.receive(self._session, message)
        except ControlPlaneRefused as refused:
            self._core.disconnect(self._session, refused.message)

    def receive(self) -> AsyncIterator[FromControl]:
        return self._session.outbox.drain()


def _phase1() -> Scheduler:
    from random import Random

    from modeldist.scheduler.phase1 import Phase1, Phase1Config

    # Nobody else can hold what this process does not know of.
    return Phase1(Phase1Config(restart_grace=0.0), Random())
