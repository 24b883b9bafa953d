"""The node's event loop: carries events to phase 2 and carries out what it says.

Everything here runs on one asyncio loop, so no state needs a lock. Threads (piece transfers, origin reads, hashing)
call back through `_post`. Decisions are phase 2's (which piece from whom) and phase 1's (leases, candidates); this
file only does them:

    pull() ── resolve ──▶ SessionKeeper ──▶ control plane
      └─ fetch_all() ── JoinTasks ──▶ … TaskJoined ──▶ phase 2 ──▶ Parents / OriginReads ──▶ Verifier ──▶ Partial.add
                                                                     └── all pieces ──▶ Partial.commit ──▶ store
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from functools import partial as bind
from typing import cast

import structlog
from msgspec.structs import replace

from modeldist import __version__
from modeldist.agent.config import EngineConfig
from modeldist.agent.load import LoadMeter
from modeldist.agent.origin_reads import LeaseCallbacks, LeaseRead, OriginReads, Readers
from modeldist.agent.parents import Parents
from modeldist.agent.peer_fetch import PeerFetches
from modeldist.agent.progress import ShardProgress
from modeldist.agent.reporter import Reporter
from modeldist.agent.session_keeper import SessionKeeper
from modeldist.agent.shard_fetch import ShardFetch
from modeldist.agent.store import Store
from modeldist.agent.verify import Verifier, check_piece
from modeldist.artifact import Artifact, Digest, Shard
from modeldist.errors import (
    Cancelled,
    IntegrityError,
    ModeldistError,
    OriginProtocolError,
    OriginUnavailable,
    RateLimited,
)
from modeldist.scheduler.messages import (
    JoinTasks,
    LeaseFailed,
    LeaseGranted,
    LeaseRequest,
    LeaseRevoked,
    LeaveTasks,
    PieceDigest,
    PieceDigests,
    Priority,
    ShardRejected,
    TaskJoin,
    TaskJoined,
    TaskReset,
)
from modeldist.scheduler.messages import Parents as ParentsMessage
from modeldist.scheduler.phase2 import Phase2, Phase2Config
from modeldist.scheduler.phase2 import messages as p2
from modeldist.scheduler.pieces import PieceSet, piece_size_for
from modeldist.session.link import ControlLink
from modeldist.session.messages import PROTOCOL, CancelPull, FromControl, Hello, Inventory, StartPull, Welcome
from modeldist.transfer.base import PieceServer, Transport

log = structlog.get_logger(__name__)

TICK = 0.1  # seconds between phase 2's ticks
RENEW = 1200.0  # seconds between re-joins of open tasks, which renew their capabilities (valid an hour)
TRANSIENT = (OriginUnavailable, RateLimited, OriginProtocolError)


ShardDone = Callable[[ShardProgress, dict[str, int], list[str]], None]
"""(final progress, bytes by parent, notes) of a shard that ended, for the pulls that wanted it."""


class Engine:
    """One node. `start()`, then `pull` artifacts with `agent.pull.Pulls`, then `close()`."""

    def __init__(
        self,
        store: Store,
        link: ControlLink,
        readers: Readers,
        transport: Transport,
        *,
        server: PieceServer | None = None,
        config: EngineConfig | None = None,
        phase2: Phase2Config | None = None,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        self.store = store
        self.config = config or EngineConfig()
        self.server = server
        self.fetches: dict[Digest, ShardFetch] = {}
        self.on_start_pull: Callable[[StartPull], None] = lambda _: None
        self.on_cancel_pull: Callable[[CancelPull], None] = lambda _: None
        self._clock = clock
        self._rng = rng or random.Random()
        self._phase2 = Phase2(phase2 or Phase2Config(origin_streams=self.config.origin_streams), self._rng)
        self._events: deque[p2.Event] = deque()
        self._applying = False
        self._held: dict[Digest, Shard] = {}
        self._verifier = Verifier(self.config.verify_threads)
        self._origin = OriginReads(
            readers,
            self._verifier,
            self.config.origin_streams,
            LeaseCallbacks(self._origin_piece, self._origin_end),
        )
        self.session = SessionKeeper(link, self._hello, self._session_open, self._on_message, self._rng)
        self._parents = Parents(transport, store.node_id, self._post, self._apply)
        self._peer_fetches = PeerFetches(self._parents, self._verifier, self._post, self._apply)
        self._reporter = Reporter(LoadMeter(clock), clock)
        self._report_soon = asyncio.Event()
        self._background: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = False
        self._watchers: dict[str, ShardDone] = {}

    # --- life ---

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._find_held)
        self._spawn(self.session.run(), "session")
        self._spawn(self._ticks(), "ticks")
        self._spawn(self._reports(), "reports")
        self._spawn(self._renewals(), "renewals")

    async def close(self) -> None:
        """Stop everything; partial files stay for the next time."""
        self._closing = True
        for fetch in list(self.fetches.values()):
            await self._end(fetch, Cancelled("The agent is stopping.", remedy="Pull again to resume."))
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self._parents.close()
        await asyncio.to_thread(self._origin.close)
        await asyncio.to_thread(self._verifier.close)

    def _spawn(self, work: Awaitable[None], name: str) -> None:
        async def guarded() -> None:
            try:
                await work
            except asyncio.CancelledError:
                raise
            except Exception:
                log.exception("background work failed", work=name)

        task = asyncio.create_task(guarded(), name=name)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _post(self, call: Callable[[], None]) -> None:
        """Run on the loop thread, from any thread; dropped once the loop is gone."""
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:
            if not self._closing:
                raise

    async def _ticks(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            self._apply(p2.Tick())

    # --- fetching shards ---

    async def fetch_all(self, artifact: Artifact, shards: Iterable[Shard], priority: Priority, pull: str) -> None:
        """Fetch these shards into the store. Raises the first failure; other pulls of the same shards go on."""
        fetches = [await self._begin(artifact, shard, priority, pull) for shard in shards]
        wanted = [fetch for fetch in fetches if fetch is not None]
        fresh = [fetch for fetch in wanted if not fetch.joined and fetch.wanted_by == {pull}]
        self._join(fresh, priority)
        try:
            await _all_or_first_error([fetch.done for fetch in wanted])
        finally:
            for fetch in wanted:
                fetch.wanted_by.discard(pull)
                if not fetch.wanted_by and not fetch.ended:
                    await self._end(fetch, Cancelled(f"The pull of {fetch.path} was stopped."))
            self._origin.forget(artifact)

    async def _begin(self, artifact: Artifact, shard: Shard, priority: Priority, pull: str) -> ShardFetch | None:
        if fetch := self.fetches.get(shard.digest):
            fetch.wanted_by.add(pull)
            return fetch
        partial = await asyncio.to_thread(self.store.begin, shard, piece_size_for(shard.size))
        if fetch := self.fetches.get(shard.digest):  # another pull of this process was faster
            partial.close()
            fetch.wanted_by.add(pull)
            return fetch
        if self.store.has(shard.digest):
            partial.discard()
            return None
        assert self._loop is not None
        path = next(file.path for file in artifact.files if file.digest == shard.digest)
        fetch = ShardFetch(
            shard=shard,
            artifact=artifact,
            path=path,
            partial=partial,
            priority=priority,
            done=self._loop.create_future(),
            local_bytes=partial.layout.bytes_of(partial.have()),
        )
        fetch.idle.set()
        fetch.wanted_by.add(pull)
        fetch.trusted.update(partial.digests())
        self.fetches[shard.digest] = fetch
        return fetch

    def _join(self, fetches: list[ShardFetch], priority: Priority) -> None:
        if fetches:
            self.session.post(JoinTasks(tuple(task_join(fetch) for fetch in fetches), priority))

    async def _end(self, fetch: ShardFetch, error: ModeldistError | None) -> None:
        """Stop fetching. `error` None: the shard is in the store. Idempotent."""
        if fetch.ended:
            return
        fetch.ended = True
        task = fetch.shard.digest
        self._origin.stop_task(task)
        if fetch.joined:
            self._apply(p2.TaskRemoved(task))
        if error is not None:
            self.session.post(LeaveTasks((task,)))
            for node in set(fetch.writers.values()):
                await self._parents.abort(node, f"stopped fetching {fetch.path}")
            await fetch.idle.wait()
            await asyncio.to_thread(fetch.partial.close)
            self.fetches.pop(task, None)
            if not fetch.done.done():
                fetch.done.set_exception(error)
                fetch.done.exception()  # seen: nobody may be waiting
            return
        final = replace(fetch.progress(), done=fetch.shard.size, complete=True)
        for pull in fetch.wanted_by:
            if watcher := self._watchers.get(pull):
                watcher(final, dict(fetch.peer_bytes), list(fetch.notes))
        self.fetches.pop(task, None)
        self._held[task] = fetch.shard
        self._reporter.completed(fetch)
        self._report_soon.set()
        if not fetch.done.done():
            fetch.done.set_result(None)

    def watch(self, pull: str, on_shard: ShardDone) -> None:
        self._watchers[pull] = on_shard

    def unwatch(self, pull: str) -> None:
        self._watchers.pop(pull, None)

    # --- phase 2 ---

    def _apply(self, event: p2.Event) -> None:
        """Hand an event to phase 2 and do what it says, in order, also when doing it brings new events."""
        self._events.append(event)
        if self._applying:
            return
        self._applying = True
        try:
            while self._events:
                for instruction in self._phase2.handle(self._events.popleft(), self._clock()):
                    self._do(instruction)
        finally:
            self._applying = False

    def _do(self, instruction: p2.Instruction) -> None:  # noqa: PLR0912 - one arm per instruction
        match instruction:
            case p2.Connect(node, address):
                self._parents.connect(node, address)
            case p2.Disconnect(node):
                self._parents.disconnect(node)
            case p2.Subscribe(task, node):
                if fetch := self.fetches.get(task):
                    self._parents.subscribe(node, task, fetch.capability)
            case p2.Unsubscribe(task, node):
                self._parents.unsubscribe(node, task)
            case p2.FetchFromPeer(task, piece, node):
                if fetch := self.fetches.get(task):
                    self._peer_fetches.start(fetch, piece, node)
            case p2.ReadLease(task, lease, start, count):
                if fetch := self.fetches.get(task):
                    self._read_lease(fetch, lease, start, count)
            case p2.StopLease(task, lease):
                self._origin.stop(task, lease)
            case p2.RequestLease(task, pieces):
                self.session.post(LeaseRequest(task, pieces))
            case p2.TaskComplete(task):
                if fetch := self.fetches.get(task):
                    self._spawn(self._complete(fetch), f"commit {fetch.path}")

    async def _complete(self, fetch: ShardFetch) -> None:
        try:
            for node in set(fetch.writers.values()):
                await self._parents.abort(node, f"{fetch.path} is complete")
            await fetch.idle.wait()
            await asyncio.to_thread(fetch.partial.commit)
        except IntegrityError as error:
            await self._rejected(fetch, error)
        except ModeldistError as error:
            await self._end(fetch, error)
        except OSError as error:
            await self._end(fetch, ModeldistError(f"Storing {fetch.path} failed: {error}."))
        else:
            await self._end(fetch, None)

    async def _rejected(self, fetch: ShardFetch, error: IntegrityError) -> None:
        """Every piece was as promised and the shard is still wrong: some promise was false."""
        fetch.rejections += 1
        fetch.note(str(error))
        alone = not fetch.peer_bytes.total() and not fetch.local_bytes
        if alone or fetch.rejections >= self.config.rejections:
            self.session.post(ShardRejected(fetch.shard.digest))
            await self._end(fetch, error.about(f"{fetch.path} of {fetch.artifact.name}"))
            return
        self.session.post(ShardRejected(fetch.shard.digest))
        await self._restart(fetch)

    async def _restart(self, fetch: ShardFetch) -> None:
        """Leave the task, let every transfer end, forget all pieces, join again."""
        fetch.joined = False
        self._apply(p2.TaskRemoved(fetch.shard.digest))
        self._origin.stop_task(fetch.shard.digest)
        for node in set(fetch.writers.values()):
            await self._parents.abort(node, f"{fetch.path} starts again")
        await fetch.idle.wait()
        await asyncio.to_thread(fetch.partial.reset)
        fetch.start_again()
        if not fetch.ended:
            self._join([fetch], fetch.priority)

    # --- origin ---

    def _read_lease(self, fetch: ShardFetch, lease: int, start: int, count: int) -> None:
        pieces = PieceSet.span(start, count) - fetch.partial.have()
        for node in {fetch.writers[piece] for piece in pieces if piece in fetch.writers}:
            # Nobody else may write where the lease's reader will.
            self._parents.disconnect(node)
            self._apply(p2.ParentLost(node, "its piece is now read from the origin"))
        fetch.hold()
        fetch.reads.add(self._origin.start(fetch, lease, pieces))

    def _origin_piece(self, read: LeaseRead, piece: int) -> None:
        fetch = read.fetch
        whole = fetch.shard.digest if fetch.self_proving else None
        found = check_piece(fetch.partial, piece, None, whole)
        if found is None:
            read.error = IntegrityError(
                f"{fetch.path} of {fetch.artifact.name}: the origin sent {fetch.shard.size} bytes whose digest is not "
                f"{fetch.shard.digest}.",
                remedy="The origin's copy is damaged or was replaced; push it again.",
            )
            return
        fetch.partial.add(piece, found)
        self._post(bind(self._origin_verified, fetch, piece, found))

    def _origin_verified(self, fetch: ShardFetch, piece: int, digest: bytes) -> None:
        if fetch.ended:
            return
        fetch.origin_pieces += 1
        fetch.origin_failures = 0
        fetch.trusted[piece] = digest
        fetch.verified.append(PieceDigest(piece, digest))
        fetch.have_changed = True
        self._report_soon.set()
        self._apply(p2.PieceVerified(fetch.shard.digest, piece))

    def _origin_end(self, read: LeaseRead) -> None:
        self._post(bind(self._lease_ended, read))

    def _lease_ended(self, read: LeaseRead) -> None:
        fetch, task = read.fetch, read.fetch.shard.digest
        self._origin.ended(read)
        fetch.reads.discard(read)
        fetch.origin_bytes += read.bytes
        fetch.release()
        if fetch.ended:
            return
        unread = read.pieces - fetch.partial.have()
        if unread:
            reason = str(read.error or "stopped")
            self.session.post(LeaseFailed(task, read.lease, unread.to_bytes(), reason))
        self._apply(p2.LeaseGone(task, read.lease))
        if read.error is not None:
            self._origin_failed(fetch, read.error)

    def _origin_failed(self, fetch: ShardFetch, error: ModeldistError) -> None:
        fetch.note(f"Reading from the origin failed: {error}")
        fetch.origin_failures += 1
        log.warning("origin read failed", shard=fetch.path, error=str(error), failures=fetch.origin_failures)
        if isinstance(error, TRANSIENT) and fetch.origin_failures < self.config.origin_failures:
            return
        self._spawn(self._end(fetch, error.about(fetch.path)), "failed")

    # --- the session ---

    def _hello(self) -> Hello:
        return Hello(
            protocol=PROTOCOL,
            node=self.store.node_id,
            name=self.config.name or self.store.node_id[:12],
            version=__version__,
            address=self.server.address if self.server else "",
            location=self.config.location,
            labels=self.config.labels,
            artifacts=self._complete_artifacts(),
        )

    def _complete_artifacts(self) -> tuple[Digest, ...]:
        return tuple(stored.artifact.digest for stored in self.store.artifacts() if stored.snapshot)

    def announce(self) -> None:
        """The set of artifacts held complete has changed."""
        self.session.post(Inventory(self._complete_artifacts()))

    async def _session_open(self, welcome: Welcome) -> None:
        self._reporter.interval = welcome.report_interval
        for fetch in self.fetches.values():
            fetch.have_changed = True
        for priority in Priority:
            self._join([fetch for fetch in self.fetches.values() if fetch.priority == priority], priority)
        self._offer(self._held.values())

    async def _renewals(self) -> None:
        while True:
            await asyncio.sleep(RENEW)
            for priority in Priority:
                self._join([fetch for fetch in self.fetches.values() if fetch.priority == priority], priority)

    def _on_message(self, message: FromControl) -> None:
        match message:
            case StartPull():
                self.on_start_pull(message)
            case CancelPull():
                self.on_cancel_pull(message)
            case TaskJoined(task, piece_size, capability):
                if fetch := self.fetches.get(task):
                    fetch.capability = capability
                    self._task_joined(fetch, piece_size)
            case ParentsMessage(task, parents):
                if self._live(task):
                    others = tuple(parent for parent in parents if parent.node != self.store.node_id)
                    self._apply(p2.ParentsChanged(task, others))
            case LeaseGranted(task, lease, start, count):
                if self._live(task):
                    self._apply(p2.LeaseArrived(task, lease, start, count))
                else:
                    everything = PieceSet.span(start, count).to_bytes()
                    self.session.post(LeaseFailed(task, lease, everything, "this node no longer fetches the shard"))
            case LeaseRevoked(task, lease):
                if self._live(task):
                    self._apply(p2.LeaseGone(task, lease))
            case PieceDigests(task, digests):
                if fetch := self._live(task):
                    self._learn(fetch, digests)
            case TaskReset(task, reason):
                if fetch := self._live(task):
                    self._spawn(self._reset(fetch, reason), "reset")
            case _:
                log.warning("unexpected message", message=type(message).__name__)

    def _live(self, task: Digest) -> ShardFetch | None:
        fetch = self.fetches.get(task)
        return fetch if fetch and fetch.joined and not fetch.ended else None

    def _task_joined(self, fetch: ShardFetch, piece_size: int) -> None:
        if fetch.joined or fetch.ended:
            return
        if piece_size != fetch.layout.piece_size:
            fetch.partial.recut(piece_size)
            fetch.trusted = dict(fetch.partial.digests())
        fetch.joined = True
        task, have = fetch.shard.digest, fetch.partial.have()
        self._apply(p2.TaskAdded(task, fetch.layout, have, fetch.priority))
        if known := fetch.verifiable(fetch.layout.all):
            self._apply(p2.DigestsKnown(task, known))

    def _learn(self, fetch: ShardFetch, digests: tuple[PieceDigest, ...]) -> None:
        for digest in digests:
            fetch.trusted.setdefault(digest.piece, digest.blake3)
        self._apply(p2.DigestsKnown(fetch.shard.digest, PieceSet.of(digest.piece for digest in digests)))

    async def _reset(self, fetch: ShardFetch, reason: str) -> None:
        fetch.note(f"Started again: {reason}")
        await self._restart(fetch)

    # --- offering what is here ---

    def _find_held(self) -> None:
        if not self.config.offer_held:
            return
        for stored in self.store.artifacts():
            for shard in stored.artifact.shards:
                if self.store.has(shard.digest):
                    self._held[shard.digest] = shard

    def forget(self, shards: Iterable[Digest]) -> None:
        """These shards left the store: stop offering them."""
        gone = tuple(digest for digest in shards if self._held.pop(digest, None))
        if gone:
            self.session.post(LeaveTasks(gone))
            self.announce()

    def _offer(self, shards: Iterable[Shard]) -> None:
        if not self.config.offer_held or self.server is None:
            return
        joins = tuple(self._held_join(shard) for shard in shards if shard.size)
        if joins:
            self.session.post(JoinTasks(joins, Priority.PREFETCH))

    def _held_join(self, shard: Shard) -> TaskJoin:
        size, digests = self.store.piece_digests(shard.digest) or (piece_size_for(shard.size), {})
        layout_all = PieceSet.full(-(-shard.size // size))
        known = tuple(PieceDigest(piece, digest) for piece, digest in sorted(digests.items()))
        return TaskJoin(shard.digest, shard.size, "", layout_all.to_bytes(), known, piece_size=size, seed_only=True)

    # --- reports ---

    async def _reports(self) -> None:
        """One report an interval; sooner (but coalesced) when pieces read from the origin wait to be made known."""
        while True:
            interval = self._reporter.interval
            try:
                await asyncio.wait_for(self._report_soon.wait(), interval)
                await asyncio.sleep(self._reporter.coalesce)
            except TimeoutError:
                pass
            self._report_soon.clear()
            if not self.session.connected:
                continue
            served = self.server.load() if self.server else None
            progress = {task: self._origin.progress(task) for task in self.fetches}
            report = self._reporter.report(
                [fetch for fetch in self.fetches.values() if fetch.joined],
                progress,
                bytes_in_flight=self._peer_fetches.bytes_in_flight,
                queue=served.requests if served else 0,
            )
            self.session.post(report)


def task_join(fetch: ShardFetch) -> TaskJoin:
    """How a fetch introduces itself to phase 1."""
    digests = fetch.partial.digests()
    return TaskJoin(
        fetch.shard.digest,
        fetch.shard.size,
        fetch.artifact.endpoint,
        fetch.partial.have().to_bytes(),
        tuple(PieceDigest(piece, digest) for piece, digest in sorted(digests.items())),
        piece_size=fetch.layout.piece_size if digests else 0,
    )


async def _all_or_first_error(futures: list[asyncio.Future[None]]) -> None:
    if not futures:
        return
    done, _ = await asyncio.wait(futures, return_when=asyncio.FIRST_EXCEPTION)
    for future in done:
        if error := future.exception():
            raise cast(ModeldistError, error)
