"""The control plane's core: what each message of a session means. No web framework, no database, no clock of its own.

Shells (`inprocess.py`, `api/session.py`) carry messages; the core turns them into events of phase 1, resolutions and
progress of pulls, and puts what agents must be told into their outboxes. Everything runs in one event loop; only
resolutions wait.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

import msgspec

from modeldist.artifact import Artifact, Digest
from modeldist.control.admission.rooms import NOBODY, Rooms
from modeldist.control.admission.tasks import Joined, Tasks
from modeldist.control.agent_session import AgentSession
from modeldist.control.artifact_size import LARGE, size_of
from modeldist.control.event_bounds import check_event
from modeldist.control.greeting import ReportIntervals, check_hello
from modeldist.control.outbox import LIMIT, STUCK_AFTER, Outbox
from modeldist.control.ports import Addressed, Clock, IssuesCapabilities, Scheduler, Watches
from modeldist.control.resolver import Resolver
from modeldist.control.store_commands import StoreCommands
from modeldist.control.twins import taken_over
from modeldist.errors import (
    ControlPlaneRefused,
    ErrorInfo,
    ModeldistError,
    OriginUnavailable,
    Overloaded,
    RateLimited,
    ShareUsedUp,
)
from modeldist.scheduler.messages import (
    Event,
    Instruction,
    JoinTasks,
    LeaveTasks,
    Measure,
    Priority,
    Report,
    TaskJoined,
    TaskRefused,
)
from modeldist.session.messages import (
    FromAgent,
    FromControl,
    Hello,
    Inventory,
    PullProgress,
    ReportEvery,
    Resolve,
    Resolved,
    ResolveFailed,
    StoreAnswer,
    UpdateProgress,
    Welcome,
)
from modeldist.tracing import active
from modeldist.transfer.link_shard import LINK_SHARD
from modeldist.transfer.tls.mode import PieceTls

log = logging.getLogger(__name__)

TICK = 0.1  # seconds between two ticks of phase 1
CAPABILITY_LIFETIME = 24 * 3600.0  # seconds; longer than any transfer, and a new session brings a new one
MEASURING_LIFETIME = 60.0  # seconds; a measurement takes less than one
LOOKED_AT = 250  # sessions per tick: of five thousand, each one every two seconds
PACE_SLACK = 1.25  # an interval that is wrong by less than this factor stays
MOST_AWAY = 900.0  # seconds for which what a node holds may be kept for it
RESOLVING_LIMIT = 64  # requests of one agent not answered yet, or whose answer it has not taken


class ControlCore:
    """All sessions of one control plane and the swarm behind them."""

    def __init__(
        self,
        *,
        scheduler: Scheduler,
        resolver: Resolver,
        clock: Clock,
        cluster: str = "local",
        capabilities: IssuesCapabilities | None = None,
        piece_tls: PieceTls = "off",
        watchers: Sequence[Watches] = (),
        intervals: ReportIntervals | None = None,
        outbox_limit: int = LIMIT,
        rooms: Rooms | None = None,
        leads: Callable[[], bool] = lambda: True,
    ) -> None:
        """`rooms`: what is let in; None: everything. `leads`: whether anything may be said or granted; asked each time,
        where several replicas may lead."""
        self.leads = leads
        self._scheduler = scheduler
        self._resolver = resolver
        self._clock = clock
        self._cluster = cluster
        self._capabilities = capabilities
        self._piece_tls: PieceTls = piece_tls
        self._watchers = watchers
        self._intervals = intervals or ReportIntervals()
        self._outbox_limit = outbox_limit
        self._rooms = rooms
        self._tasks = Tasks(rooms) if rooms is not None else None
        self._sessions: dict[str, AgentSession] = {}
        self.store_commands = StoreCommands(self.send)
        self.on_update: Callable[[AgentSession, UpdateProgress], bool] | None = None
        """Told how updates of nodes go on; whether the node was told to change. None: nobody asks for any."""
        self._looked_at = 0

    @property
    def sessions(self) -> dict[str, AgentSession]:
        """Open sessions by node id."""
        return self._sessions

    def session(self, node: str) -> AgentSession | None:
        return self._sessions.get(node)

    # --- sessions ---------------------------------------------------------------------------------------------------

    def connect(self, hello: Hello, holder: str = NOBODY) -> AgentSession:
        """Open a session; the shell sends its `welcome` before anything of its outbox. An older session of the same
        node is closed. `holder`: whose token it showed. Raises ControlPlaneRefused."""
        protocol = check_hello(hello)
        now = self._clock()
        took_over: tuple[str, ...] = ()
        if older := self._sessions.get(hello.node):
            took_over = taken_over(hello, older)
            self.disconnect(older, "replaced by a newer session of the same node", lost=True)
        session = AgentSession(
            hello=hello,
            welcome=Welcome(
                protocol=protocol,
                cluster=self._cluster,
                report_interval=self._intervals.of(len(self._sessions) + 1),
                capability_key=self._capabilities.public_key if self._capabilities else b"",
                piece_tls=self._piece_tls,
                now=self._capabilities.now() if self._capabilities else None,
                updates=self.on_update is not None,
            ),
            outbox=Outbox(self._clock, self._outbox_limit),
            connected_at=now,
            heard_at=now,
            artifacts=frozenset(hello.artifacts),
            took_over=took_over,
            joined=Joined(holder),
        )
        session.outbox.on_taken = lambda answer: self._delivered(session, answer)
        self._sessions[hello.node] = session
        try:
            self._tell(
                self._scheduler.node_joined(hello.node, hello.address, hello.location, now, measures=hello.measures)
            )
            for watcher in self._watchers:
                watcher.connected(session)
        except Exception:
            self.disconnect(session, "the control plane failed on its greeting", lost=True)
            raise
        return session

    def disconnect(self, session: AgentSession, reason: str, *, lost: bool = False) -> None:
        """The session is over; `lost`: the agent may still be there and come back. Harmless when it is over already."""
        session.outbox.close(reason)
        for task in session.resolving:
            task.cancel()
        self._forget(session)
        if self._sessions.get(session.node) is not session:
            return
        del self._sessions[session.node]
        self.store_commands.lost(session.node)
        if session.away:
            self._tell(self._scheduler.node_away(session.node, session.away, self._clock()))
        else:
            gone = self._scheduler.node_lost if lost else self._scheduler.node_left
            self._tell(gone(session.node, self._clock()))
        for watcher in self._watchers:
            watcher.disconnected(session)

    def receive(self, session: AgentSession, message: FromAgent) -> None:
        """One message of an agent. Raises ControlPlaneRefused when it breaks the protocol."""
        if self._sessions.get(session.node) is not session:
            return
        now = session.heard_at = self._clock()
        match message:
            case Hello():
                raise ControlPlaneRefused(
                    f"Node {session.node} greeted twice in one session.", remedy="Report it as a bug of the agent."
                )
            case Resolve():
                self._resolve(session, message)
            case PullProgress():
                for watcher in self._watchers:
                    watcher.progressed(session, message)
            case StoreAnswer():
                self.store_commands.answered(session.node, message)
            case UpdateProgress():
                self._update(session, message)
            case Inventory():
                session.artifacts = frozenset(message.artifacts)
            case _:
                check_event(message)
                self._tell(self._scheduler.handle(session.node, self._admitted(session, message), now))

    def send(self, node: str, message: FromControl) -> bool:
        """Queue a message for a node; False when it has no session."""
        session = self._sessions.get(node)
        if session is None:
            return False
        session.outbox.put(message)
        return True

    # --- time -------------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Phase 1's time passes; agents that stopped reading are dropped, and all report as often as their number
        allows."""
        now = self._clock()
        self._tell(self._scheduler.tick(now))
        interval = self._intervals.of(len(self._sessions))
        for session in self._some():
            if (stuck := session.outbox.stuck_for(now)) > STUCK_AFTER:
                self.disconnect(session, f"the agent has not read anything for {stuck:.0f} seconds", lost=True)
            elif reason := session.outbox.closed:
                self.disconnect(session, reason, lost=True)
            elif not interval / PACE_SLACK <= session.interval <= interval * PACE_SLACK:
                session.interval = interval
                session.outbox.put(ReportEvery(interval))

    def _some(self) -> list[AgentSession]:
        """The next few, in turn, so that one tick stays short."""
        sessions = list(self._sessions.values())
        start = self._looked_at if self._looked_at < len(sessions) else 0
        self._looked_at = start + LOOKED_AT
        return sessions[start : self._looked_at]

    async def run_ticks(self, interval: float = TICK) -> None:
        """Tick until cancelled."""
        while True:
            await asyncio.sleep(interval)
            if not self.leads():
                continue
            try:
                self.tick()
            except Exception:
                # One broken tick must not stop leases from ever expiring again.
                log.exception("tick failed")

    async def close(self) -> None:
        """Close every session."""
        self.end_sessions("the control plane stops")
        await self._resolver.close()

    def end_sessions(self, reason: str) -> None:
        """Send all agents away."""
        for session in list(self._sessions.values()):
            self.disconnect(session, reason)

    # --- what follows -----------------------------------------------------------------------------------------------

    def _tell(self, instructions: Addressed) -> None:
        for node, instruction in instructions:
            session = self._sessions.get(node)
            if session is None:
                continue
            if isinstance(instruction, TaskRefused) and self._tasks is not None:
                self._tasks.leave(session.joined, (instruction.task,))
            session.outbox.put(self._with_capability(instruction, node))

    def _with_capability(self, instruction: Instruction, node: str) -> Instruction:
        """Of what a node has to show to others to do as it is told."""
        if self._capabilities is None:
            return instruction
        match instruction:
            case TaskJoined(task):
                capability = self._capabilities.issue(task, node, CAPABILITY_LIFETIME)
            case Measure():
                capability = self._capabilities.issue(LINK_SHARD, node, MEASURING_LIFETIME)
            case _:
                return instruction
        return msgspec.structs.replace(instruction, capability=capability)

    def _admitted(self, session: AgentSession, event: Event) -> Event:
        """Of an event what there is room for; whoever has to wait is told so."""
        tasks = self._tasks
        if tasks is None:
            return event
        match event:
            case JoinTasks():
                event, later = tasks.admit(session.joined, event)
                for join, wait in later:
                    session.outbox.put(TaskRefused(join.task, join.size, wait))
            case LeaveTasks():
                tasks.leave(session.joined, event.tasks)
            case Report():
                session.joined.announcing = False
        return event

    def _update(self, session: AgentSession, progress: UpdateProgress) -> None:
        """Only who was told to restart is waited for: else any node could keep pieces from the others for as long."""
        told = self.on_update is not None and self.on_update(session, progress)
        restarts = progress.state == "restarting" and progress.away > 0.0  # what is no number is not
        session.away = min(progress.away, MOST_AWAY) if told and restarts else 0.0

    def _resolve(self, session: AgentSession, request: Resolve) -> None:
        try:
            self._let_in(session, request)
        except Overloaded as error:
            session.outbox.put(ResolveFailed(request.request, error.info()))
            return
        task = asyncio.create_task(self._answer(session, request), name=f"answer {session.node} {request.request}")
        session.resolving.add(task)
        task.add_done_callback(lambda task: self._answered(session, task))

    def _let_in(self, session: AgentSession, request: Resolve) -> None:
        """Raises Overloaded."""
        if len(session.resolving) + session.outbox.answers >= RESOLVING_LIMIT:
            raise ShareUsedUp(
                f"{request.reference}: this node waits for {RESOLVING_LIMIT} other references already.",
                remedy="Wait for them, then pull again.",
                retry_after=1.0,
            )
        if self._rooms is not None:
            self._rooms.take(self._rooms.questions, session.joined.holder, request.priority)

    def _answered(self, session: AgentSession, task: asyncio.Task[None]) -> None:
        session.resolving.discard(task)
        if self._rooms is not None:
            self._rooms.free(self._rooms.questions, session.joined.holder)

    async def _answer(self, session: AgentSession, request: Resolve) -> None:
        answer: Resolved | ResolveFailed
        try:
            artifact, away = await self._meaning(session, request)
        except ModeldistError as error:
            answer = ResolveFailed(request.request, error.info())
        except Exception:
            log.exception("resolving %s failed", request.reference)
            answer = ResolveFailed(
                request.request,
                ErrorInfo(
                    ModeldistError.code,
                    f"{request.reference}: the control plane failed while resolving it.",
                    "Its log has the traceback; please report it.",
                ),
            )
        else:
            unchanged = artifact.digest == request.known
            answer = self._held(session, request, Resolved(request.request, None if unchanged else artifact, away))
        session.outbox.put(answer)

    def _held(self, session: AgentSession, request: Resolve, answer: Resolved) -> Resolved | ResolveFailed:
        """A large artifact is held until the agent has taken it; where there is no room for that, it asks again."""
        size = size_of(answer.artifact) if answer.artifact is not None else 0
        if self._rooms is None or size < LARGE or session.outbox.closed is not None:
            return answer
        try:
            self._rooms.take(self._rooms.held, session.joined.holder, request.priority, size)
        except Overloaded as error:
            return ResolveFailed(request.request, error.info())
        session.holding[request.request] = size
        return answer

    def _delivered(self, session: AgentSession, answer: Resolved | ResolveFailed) -> None:
        size = session.holding.pop(answer.request, 0)
        if size and self._rooms is not None:
            self._rooms.free(self._rooms.held, session.joined.holder, size)

    def _forget(self, session: AgentSession) -> None:
        """A session that is over holds nothing."""
        if self._rooms is not None and self._tasks is not None:
            self._tasks.leave(session.joined, list(session.joined.members))
            for size in session.holding.values():
                self._rooms.free(self._rooms.held, session.joined.holder, size)
            session.holding.clear()

    async def _meaning(self, session: AgentSession, request: Resolve) -> tuple[Artifact, ErrorInfo | None]:
        """What a reference means; where its origin is away, what it meant last, if a node can give all of that, and why
        nobody could be asked."""
        try:
            return await self.resolve(
                request.reference, request.known, holder=session.joined.holder, priority=request.priority
            ), None
        except (OriginUnavailable, RateLimited) as error:
            last = await self._resolver.last_known(request.reference)
            if last is None or not any(last.digest in session.artifacts for session in self._sessions.values()):
                raise
            return last, error.info()

    async def resolve(
        self, reference: str, known: Digest | None = None, *, holder: str = NOBODY, priority: Priority = Priority.PULL
    ) -> Artifact:
        """What a reference means now. Raises what `Resolver.resolve` raises."""
        artifact = await self._resolver.resolve(reference, known, holder=holder, priority=priority)
        for chunks in artifact.chunks:
            self._scheduler.trust(chunks)
        return artifact


def core_class() -> type[ControlCore]:
    """The one that tells spans where traces are recorded now."""
    if not active():
        return ControlCore
    from modeldist.control.traced_core import TracedCore

    return TracedCore
