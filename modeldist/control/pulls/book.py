"""All pulls: made over REST, carried out by agents, kept in the store.

Running pulls live in memory, so that progress costs no query; their changes are written soon after. After a restart
the running ones are read back, and each agent that reconnects is asked again for what it has not ended.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from modeldist.control.admission.rooms import NOBODY, Rooms
from modeldist.control.agent_session import AgentSession
from modeldist.control.pulls.afterwards import Afterwards
from modeldist.control.pulls.brief import Brief, brief_of
from modeldist.control.pulls.places import Places
from modeldist.control.pulls.pull import ENDED, Pull, PullState
from modeldist.control.pulls.selection import Selector, select
from modeldist.control.pulls.watch import Watch, Watchers
from modeldist.control.webhooks.signing import Webhook
from modeldist.control.write_behind import DELAY, WriteBehind
from modeldist.errors import IdempotencyKeyReused, NotFound, UsageError
from modeldist.scheduler.messages import Priority
from modeldist.session.messages import CancelPull, PullProgress, StartPull
from modeldist.tracing import current, shown, trace_id_of

log = logging.getLogger(__name__)

LOOKED_FOR_DEADLINES = 0.5  # seconds between two looks
LOOKED_FOR_NODES = 0.1


class PullStore(Protocol):
    """What the book needs of `store.pulls.Pulls`."""

    async def add(self, pull: Pull) -> Pull: ...
    async def write(self, changed: Sequence[tuple[Pull, set[str]]]) -> None: ...
    async def get(self, pull_id: str) -> Pull | None: ...
    async def by_key(self, key: str) -> Pull | None: ...
    async def running(self) -> Sequence[Pull]: ...
    async def listing(
        self, before: str | None, limit: int, state: PullState | None
    ) -> tuple[Sequence[Brief], bool]: ...


class KnownNodes(Protocol):
    async def known(self, nodes: Sequence[str]) -> set[str]: ...


class PullBook:
    """A `control.ports.Watches`. `now` is seconds since the epoch. Use `PullBook.open`."""

    def __init__(
        self,
        store: PullStore,
        nodes: KnownNodes,
        now: Callable[[], float],
        *,
        write_delay: float = DELAY,
        rooms: Rooms | None = None,
        returning: Callable[[], bool] = lambda: False,
    ) -> None:
        """`returning`: whether nodes that had sessions with an earlier process may still come back, within seconds."""
        self._returning = returning
        self._store = store
        self._nodes = nodes
        self._now = now
        self._rooms = rooms or Rooms()
        self._places = Places(self._rooms)
        self._running: dict[str, Pull] = {}
        self._connected: dict[str, AgentSession] = {}
        self._dirty: dict[str, tuple[Pull, set[str]]] = {}
        self._writing: dict[str, tuple[Pull, set[str]]] = {}
        self._watchers = Watchers(self._rooms)
        self._afterwards = Afterwards()
        self.ended: Counter[str] = Counter(dict.fromkeys(sorted(ENDED), 0))  # since the start
        self._writer = WriteBehind(self._write, write_delay)

    async def load(self) -> None:
        """Take up the running pulls of the store. Before the first agent connects."""
        self._running = {pull.id: pull for pull in await self._store.running()}
        for pull in self._running.values():
            self._places.found(pull)

    def now(self) -> float:
        """What deadlines are compared with, in seconds since the epoch."""
        return self._now()

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def longest(self) -> float:
        """Seconds that the oldest of them has run."""
        return max((self._now() - pull.created_at for pull in self._running.values()), default=0.0)

    # --- what REST asks ---------------------------------------------------------------------------------------------

    async def create(
        self,
        reference: str,
        selector: Selector,
        priority: Priority,
        idempotency_key: str | None = None,
        deadline: float | None = None,
        webhook: Webhook | None = None,
        *,
        holder: str = NOBODY,
    ) -> tuple[Pull, bool]:
        """(the pull, whether it is new). `deadline`: seconds since the epoch; `holder`: whose token asks. Raises
        NotFound, UsageError (see `select`; a deadline that passed), IdempotencyKeyReused, Overloaded."""
        if idempotency_key and (older := await self._store.by_key(idempotency_key)):
            return await self._same(older, reference, selector, priority, deadline, webhook), False
        if deadline is not None and deadline <= self._now():
            raise UsageError("The deadline has passed.", remedy="Give one that is still to come, or none.")
        with self._places.taken(holder, priority) as place:
            nodes = await self.meant(selector)
            now = self._now()
            pull = Pull(
                _new_id(now),
                reference,
                selector,
                priority,
                now,
                idempotency_key,
                deadline=deadline,
                webhook=webhook,
                trace=current(),
            )
            for node in nodes:
                pull.add(node, now)
            place.hold(pull.held, priority)
            stored = await self._store.add(pull)
            if stored is not pull:
                return await self._same(stored, reference, selector, priority, deadline, webhook), False
            self._places.keep(pull, place)
        self._running[pull.id] = pull
        log.info("pull accepted", extra=_facts(pull))
        for session in list(self._connected.values()):
            self._ask(pull, session)
        return pull, True

    async def meant(self, selector: Selector) -> list[str]:
        """The ids of the nodes that `selector` means now. Raises what `select` does."""
        if not (selector.nodes or selector.everyone):
            await self.all_back()
        known = await self._nodes.known(selector.nodes) if selector.nodes else set()
        greetings = {node: session.hello for node, session in self._connected.items()}
        busy = self._busy() if selector.count or selector.percentage else {}
        return select(selector, greetings, known, busy)

    async def all_back(self) -> None:
        """Half of the nodes are half of all that were here before a restart, not of the first that came back."""
        while self._returning():  # noqa: ASYNC110 - time passes, or nodes come; nobody tells of either
            await asyncio.sleep(LOOKED_FOR_NODES)

    async def get(self, pull_id: str) -> Pull:
        """Raises NotFound."""
        pull = self._live(pull_id) or await self._store.get(pull_id)
        if pull is None:
            raise NotFound(f"There is no pull {pull_id!r}.", remedy="See the list of pulls.")
        return pull

    async def get_explained(self, pull_id: str) -> Pull:
        """As `get`; of one that ended also where the time of its nodes went, as long as that is remembered."""
        pull = await self.get(pull_id)
        if self._live(pull_id) is not pull:
            self._afterwards.recall(pull)
        return pull

    async def listing(self, before: str | None, limit: int, state: PullState | None) -> tuple[list[Brief], bool]:
        """(up to `limit`, newest first, whether there are more)."""
        stored, more = await self._store.listing(before, limit, state)
        return [await self._currently(brief) for brief in stored], more

    async def cancel(self, pull_id: str) -> Pull:
        """Stop it on every node; harmless when it ended already. Raises NotFound."""
        pull = self._running.get(pull_id)
        if pull is None:
            return await self.get(pull_id)
        self._stopped(pull, pull.cancel(self._now()))
        return pull

    def expire(self) -> None:
        """End the pulls whose deadlines passed."""
        now = self._now()
        for pull in [each for each in self._running.values() if each.deadline is not None and each.deadline <= now]:
            self._stopped(pull, pull.expire(now, self._connected))

    async def run_deadlines(self, interval: float = LOOKED_FOR_DEADLINES) -> None:
        """Expire pulls until cancelled."""
        while True:
            await asyncio.sleep(interval)
            try:
                self.expire()
            except Exception:
                log.exception("looking for deadlines failed")  # one bad pull must not let all others run for ever

    def watch(self, pull_id: str, holder: str = NOBODY) -> AbstractContextManager[Watch]:
        """`holder`: whose token asks. Raises Overloaded."""
        return self._watchers.watch(pull_id, holder)

    def watches(self) -> list[Watch]:
        """Of all pulls, those of now."""
        return self._watchers.all()

    # --- what agents say --------------------------------------------------------------------------------------------

    def connected(self, session: AgentSession) -> None:
        self._connected[session.node] = session
        for pull in self._running.values():
            self._ask(pull, session)

    def disconnected(self, session: AgentSession) -> None:
        if self._connected.get(session.node) is session:
            del self._connected[session.node]

    def progressed(self, session: AgentSession, progress: PullProgress) -> None:
        pull = self._running.get(progress.pull)
        before = pull.nodes.get(session.node) if pull is not None else None
        if pull is not None and before is not None and pull.apply(session.node, progress, self._now()):
            after = pull.nodes[session.node]
            self._places.grew(pull, after.held - before.held)
            if not after.says_the_same(before):
                self._changed(pull, session.node)
        elif progress.state not in ENDED and (pull is None or session.node not in pull.nodes):
            # It missed the cancellation, or was never meant.
            session.outbox.put(CancelPull(progress.pull))

    def end_streams(self) -> None:
        """The control plane stops: whoever watches is sent away."""
        self._watchers.close()

    async def close(self) -> None:
        """Write what is not written yet."""
        self.end_streams()
        await self._writer.close()

    # --- inside -----------------------------------------------------------------------------------------------------

    def _ask(self, pull: Pull, session: AgentSession) -> None:
        if not pull.wants(session.node):
            return
        if session.node not in pull.nodes:
            pull.add(session.node, self._now())
            self._places.grew(pull, pull.nodes[session.node].held)
            self._changed(pull, session.node)
        session.outbox.put(StartPull(pull.id, pull.reference, pull.priority, pull.trace))

    def _stopped(self, pull: Pull, nodes: Sequence[str]) -> None:
        """The pull ended while these nodes were at it."""
        for node in nodes:
            if session := self._connected.get(node):
                session.outbox.put(CancelPull(pull.id))
            self._changed(pull, node)
        self._changed(pull, None)

    def _changed(self, pull: Pull, node: str | None) -> None:
        _, nodes = self._dirty.setdefault(pull.id, (pull, set()))
        if node is not None:
            nodes.add(node)
        if not pull.running:
            self._places.ended(pull)
            if self._running.pop(pull.id, None) is not None:
                self.ended[pull.state] += 1
                self._afterwards.remember(pull)
                log.info("pull ended", extra=_facts(pull))
        ended = node is not None and pull.nodes[node].ended
        self._writer.mark(urgent=ended or not pull.running)
        self._watchers.tell(pull.id, node, not pull.running)

    async def _write(self) -> None:
        dirty, self._dirty = self._dirty, {}
        if not dirty:
            return
        self._writing = dirty
        try:
            await self._store.write(list(dirty.values()))
        except BaseException:
            for pull_id, (pull, nodes) in dirty.items():
                self._dirty.setdefault(pull_id, (pull, set()))[1].update(nodes)
            raise
        finally:
            self._writing = {}

    def _live(self, pull_id: str) -> Pull | None:
        """As memory knows it: running, or ended a moment ago and not written yet."""
        if pull_id in self._running:
            return self._running[pull_id]
        unwritten = self._dirty.get(pull_id) or self._writing.get(pull_id)
        return unwritten[0] if unwritten else None

    def _busy(self) -> Counter[str]:
        return Counter(node for pull in self._running.values() for node, known in pull.nodes.items() if not known.ended)

    async def _current(self, read: Pull) -> Pull:
        """What became of a pull since it was read. One that was running then and is unknown to memory now has ended in
        between and been written."""
        if live := self._live(read.id):
            return live
        return (await self._store.get(read.id) or read) if read.running else read

    async def _currently(self, read: Brief) -> Brief:
        """As `_current`; nodes of a pull that ended long ago are left where they are."""
        if not read.pull.running and self._live(read.id) is None:
            return read
        return brief_of(await self._current(read.pull))

    async def _same(
        self,
        older: Pull,
        reference: str,
        selector: Selector,
        priority: Priority,
        deadline: float | None,
        webhook: Webhook | None,
    ) -> Pull:
        asked = (reference, selector, priority, deadline, webhook)
        if (older.reference, older.selector, older.priority, older.deadline, older.webhook) != asked:
            raise IdempotencyKeyReused(
                f"The idempotency key {older.idempotency_key!r} belongs to another request, pull {older.id}.",
                remedy="Use a new key for a new request.",
            )
        return await self._current(older)


def _new_id(now: float) -> str:
    """Sorts by time of creation."""
    return f"{int(now * 1000):012x}{secrets.token_hex(8)}"


def _facts(pull: Pull) -> dict[str, str]:
    """What a record of the log about it has."""
    said = {"pull": pull.id, "reference": shown(pull.reference), "state": pull.state}
    if trace := trace_id_of(pull.trace):
        said["trace_id"] = trace
    return said
