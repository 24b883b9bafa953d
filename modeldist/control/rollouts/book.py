"""Carries a rollout out: tells agents, hears them, and keeps it in the store, where a control plane that starts again
or takes over finds it. One runs at a time."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from modeldist import __version__
from modeldist.control.agent_session import AgentSession
from modeldist.control.pulls.pull import ENDED as PULL_ENDED
from modeldist.control.rollouts.blame import speaks_against
from modeldist.control.rollouts.rollout import CONTROL_PLANE, Forward, Instruction, Plan, Rollout
from modeldist.control.write_behind import DELAY, WriteBehind
from modeldist.errors import ErrorInfo, NotFound, RolloutUnderWay
from modeldist.session.messages import FromControl, PullProgress, Update, UpdateProgress

log = logging.getLogger(__name__)

LOOKED = 0.5  # seconds between two looks at the time


class RolloutStore(Protocol):
    """What the book needs of `store.rollouts.Rollouts`."""

    async def write(self, rollout: Rollout) -> None: ...
    async def get(self, rollout_id: str) -> Rollout | None: ...
    async def running(self) -> Rollout | None: ...
    async def listing(self, before: str | None, limit: int) -> Sequence[Rollout]: ...


class UpdatesItself(Protocol):
    """What updates this process (`rollouts.own.OwnUpdate`)."""

    def refusal(self) -> ErrorInfo | None: ...
    def forward(self, rollout: str, plan: Plan) -> None: ...
    def back(self, rollout: str) -> None: ...


class RolloutBook:
    """A `control.ports.Watches`. `send` queues a message for a node; `now` is the time in seconds,
    which nobody sets. `own` is set before `load`."""

    def __init__(
        self,
        store: RolloutStore,
        send: Callable[[str, FromControl], bool],
        now: Callable[[], float],
        *,
        write_delay: float = DELAY,
    ) -> None:
        self._store = store
        self._send = send
        self._now = now
        self._running: Rollout | None = None
        self._sessions: dict[str, AgentSession] = {}
        self._making = asyncio.Lock()
        self._dirty: Rollout | None = None
        self._writer = WriteBehind(self._write, write_delay)
        self.own: UpdatesItself | None = None

    async def load(self) -> None:
        """Take up what the store has. Before the first agent connects."""
        self._running = await self._store.running()
        if self._running is not None:
            self._running.connected, self._running.began = {}, self._now()
            log.info("rollout %s goes on", self._running.id)

    # --- what REST asks ---------------------------------------------------------------------------------------------

    async def create(self, plan: Plan, nodes: Iterable[str]) -> Rollout:
        """Raises RolloutUnderWay."""
        async with self._making:
            if self._running is not None:
                raise RolloutUnderWay(
                    f"The rollout {self._running.id} is under way.",
                    remedy="Wait until it has ended, or abort it: `modeldist rollout abort`.",
                )
            now = self._now()
            rollout = Rollout.new(f"{int(now * 1000):012x}{secrets.token_hex(4)}", plan, nodes, now)
            await self._store.write(rollout)
            self._running = rollout
        rollout.began = now
        if (control := rollout.nodes.get(CONTROL_PLANE)) is not None:
            control.before = control.version = __version__
        told: list[Instruction] = []
        for session in list(self._sessions.values()):
            told += self._came(rollout, session)
        self._carry_out(rollout, told + rollout.look(now))
        return rollout

    async def get(self, rollout_id: str) -> Rollout:
        """Raises NotFound."""
        for known in (self._running, self._dirty):
            if known is not None and known.id == rollout_id:
                return known
        if (found := await self._store.get(rollout_id)) is None:
            raise NotFound(f"There is no rollout {rollout_id!r}.", remedy="See the list of rollouts.")
        return found

    async def listing(self, before: str | None, limit: int) -> list[Rollout]:
        """Newest first."""
        known = {one.id: one for one in (self._running, self._dirty) if one is not None}
        return [known.get(one.id, one) for one in await self._store.listing(before, limit)]

    async def abort(self, rollout_id: str) -> Rollout:
        """Harmless when it ended already. Raises NotFound."""
        rollout = await self.get(rollout_id)
        if rollout is self._running:
            self._carry_out(rollout, rollout.abort(self._now()))
        return rollout

    # --- what agents say --------------------------------------------------------------------------------------------

    def connected(self, session: AgentSession) -> None:
        self._sessions[session.node] = session
        if (rollout := self._running) is not None:
            self._carry_out(rollout, self._came(rollout, session))

    def disconnected(self, session: AgentSession) -> None:
        if self._sessions.get(session.node) is session:
            del self._sessions[session.node]
            if self._running is not None:
                self._running.went(session.node)

    def progressed(self, session: AgentSession, progress: PullProgress) -> None:
        if (rollout := self._running) is None or progress.state not in PULL_ENDED:
            return
        code = progress.error.code if progress.error is not None else ""
        if progress.state == "done" or (progress.state == "failed" and speaks_against(code)):
            self._carry_out(rollout, rollout.pulled(session.node, self._now(), well=progress.state == "done"))

    def updated(self, session: AgentSession, progress: UpdateProgress) -> bool:
        """What `ControlCore.on_update` is told. Whether the node was told to become another version, or to go back."""
        if (rollout := self._running) is not None and rollout.id == progress.rollout:
            moves = rollout.moves(session.node)
            log.info("rollout %s: node %s: %.40r", rollout.id, session.node, progress.state)
            told = rollout.said(session.node, progress.state, progress.version, progress.error, self._now())
            self._carry_out(rollout, told)
            return moves
        return False

    def said_by_own(self, rollout_id: str, step: str, error: ErrorInfo | None = None) -> None:
        """What this process says of its own update."""
        if (rollout := self._running) is not None and rollout.id == rollout_id:
            log.info("rollout %s: the control plane: %s", rollout.id, step)
            self._carry_out(rollout, rollout.said(CONTROL_PLANE, step, __version__, error, self._now()))

    async def run(self) -> None:
        """Time passes, until cancelled."""
        while True:
            await asyncio.sleep(LOOKED)
            if (rollout := self._running) is None:
                continue
            try:
                self._carry_out(rollout, rollout.look(self._now()))
            except Exception:
                log.exception("looking at rollout %s failed", rollout.id)

    async def written(self) -> None:
        """Write what is not written yet, now."""
        await self._write()

    async def close(self) -> None:
        await self._writer.close()

    # --- inside -----------------------------------------------------------------------------------------------------

    def _came(self, rollout: Rollout, session: AgentSession) -> list[Instruction]:
        hello = session.hello
        return rollout.came(session.node, hello.version, updates=hello.updates, now=self._now())

    def _carry_out(self, rollout: Rollout, told: Iterable[Instruction]) -> None:
        plan = rollout.plan
        for instruction in told:
            if instruction.node == CONTROL_PLANE:
                self._tell_own(rollout, forward=isinstance(instruction, Forward))
                continue
            log.info("rollout %s: %s %s", rollout.id, type(instruction).__name__.lower(), instruction.node)
            self._send(
                instruction.node,
                Update(
                    rollout.id,
                    plan.release,
                    back=not isinstance(instruction, Forward),
                    drain=plan.drain,
                    within=plan.within,
                    keep_after=plan.health,
                ),
            )
        if rollout.ended and self._running is rollout:
            log.info("rollout %s: %s %s", rollout.id, rollout.state, rollout.reason)
            self._running = None
        self._mark(rollout)
        self._writer.mark(urgent=rollout.ended)

    def _tell_own(self, rollout: Rollout, *, forward: bool) -> None:
        if self.own is None:
            return
        if forward:
            self.own.forward(rollout.id, rollout.plan)
        else:
            self.own.back(rollout.id)

    def _mark(self, rollout: Rollout) -> None:
        """One that ended is written before another begins: `create` writes that itself."""
        if self._dirty is None or self._dirty.id <= rollout.id:
            self._dirty = rollout

    async def _write(self) -> None:
        dirty, self._dirty = self._dirty, None
        if dirty is None:
            return
        try:
            await self._store.write(dirty)
        except BaseException:
            self._mark(dirty)
            raise
