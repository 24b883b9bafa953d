"""Which nodes there are: connected ones from their sessions, others from the store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from modeldist.control.agent_session import AgentSession
from modeldist.control.ports import Clock
from modeldist.control.write_behind import DELAY, WriteBehind
from modeldist.session.messages import Hello, PullProgress


class NodeStore(Protocol):
    """What the registry needs of `store.nodes.Nodes`."""

    async def seen(self, hellos: Mapping[str, tuple[Hello, float]]) -> None: ...


class Registry:
    """A `control.ports.Watches` that writes down nodes as they come, go and stay.

    `clock` is monotonic (sessions), `now` seconds since the epoch (the store).
    """

    def __init__(
        self,
        store: NodeStore,
        clock: Clock,
        now: Callable[[], float],
        *,
        known: Iterable[str] = (),
        write_delay: float = DELAY,
    ) -> None:
        """`known`: nodes that the store has as seen of late. Others are written at once: a control plane that takes
        over waits for those it finds there, lest it grant what they read."""
        self._known = set(known)
        self._store = store
        self._clock = clock
        self._now = now
        self._connected: dict[str, AgentSession] = {}
        self._dirty: dict[str, tuple[Hello, float]] = {}
        self._writer = WriteBehind(self._write, write_delay)

    def last_seen(self, session: AgentSession) -> float:
        """Seconds since the epoch."""
        return self._now() - (self._clock() - session.heard_at)

    def connected(self, session: AgentSession) -> None:
        self._connected[session.node] = session
        self._note(session, urgent=session.node not in self._known)
        self._known.add(session.node)

    def disconnected(self, session: AgentSession) -> None:
        if self._connected.get(session.node) is session:
            del self._connected[session.node]
        self._note(session)

    def progressed(self, session: AgentSession, progress: PullProgress) -> None:
        return

    def note_all(self) -> None:
        """Write when connected nodes were last heard: called once a minute, so a crash loses no more than that."""
        for session in self._connected.values():
            self._note(session)

    async def close(self) -> None:
        await self._writer.close()

    def _note(self, session: AgentSession, *, urgent: bool = False) -> None:
        self._dirty[session.node] = (session.hello, self.last_seen(session))
        self._writer.mark(urgent=urgent)

    async def _write(self) -> None:
        dirty, self._dirty = self._dirty, {}
        if not dirty:
            return
        try:
            await self._store.seen(dirty)
        except BaseException:
            self._dirty = dirty | self._dirty
            raise
