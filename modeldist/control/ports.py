"""What the core needs from other rooms, as small protocols: phase 1, origins, capabilities, whoever keeps pulls."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

from modeldist.artifact import Artifact, Digest, ShardChunks
from modeldist.scheduler.messages import Event, Instruction, Location
from modeldist.session.messages import PullProgress

if TYPE_CHECKING:
    from modeldist.control.agent_session import AgentSession
    from modeldist.scheduler.phase1.views import NodeView, TaskView

Clock = Callable[[], float]
"""Seconds, monotonic."""

Addressed = Iterable[tuple[str, Instruction]]
"""(node, what it is told), in order."""


class Scheduler(Protocol):
    """Phase 1 (`modeldist.scheduler.phase1.Phase1`)."""

    def node_joined(self, node: str, address: str, location: Location, now: float) -> Addressed: ...
    def node_lost(self, node: str, now: float) -> Addressed: ...
    def node_left(self, node: str, now: float) -> Addressed: ...
    def handle(self, node: str, event: Event, now: float) -> Addressed: ...
    def trust(self, chunks: ShardChunks) -> None: ...
    def tick(self, now: float) -> Addressed: ...


class SchedulerWithViews(Scheduler, Protocol):
    """What REST shows of the swarm, and what a restart knows of the nodes that were here."""

    def expect(self, nodes: Iterable[str], now: float) -> None: ...
    def waiting(self, now: float) -> bool: ...
    def tasks(self) -> tuple[Digest, ...]: ...
    def task(self, digest: Digest, now: float) -> TaskView | None: ...
    def nodes(self, now: float) -> tuple[NodeView, ...]: ...


class Resolves(Protocol):
    """Every kind of origin behind one door (`modeldist.origins.router.Origins`)."""

    async def resolve(self, reference: str) -> Artifact: ...
    async def still(self, artifact: Artifact, reference: str) -> bool: ...


class IssuesCapabilities(Protocol):
    """Signs what opens a shard at other nodes' piece servers (`modeldist.transfer.capability.CapabilityIssuer`)."""

    @property
    def public_key(self) -> bytes: ...
    def now(self) -> float: ...
    def issue(self, shard: Digest, node: str, lifetime: float) -> bytes: ...


class Catalogue(Protocol):
    """The artifacts that are known already, so that re-checking a reference costs one HEAD."""

    async def candidate(self, reference: str, known: Digest | None) -> Artifact | None:
        """What `reference` meant when last seen. `known` is what the asker believes; a catalogue shared by several
        nodes must not take one node's word for it."""

    async def remember(self, reference: str, artifact: Artifact) -> None: ...


class Watches(Protocol):
    """Told of what happens in sessions beside the swarm. Must return at once."""

    def connected(self, session: AgentSession) -> None: ...
    def disconnected(self, session: AgentSession) -> None: ...
    def progressed(self, session: AgentSession, progress: PullProgress) -> None: ...
