"""The life of a shard on this node: begun, joined, complete or failed, started again when it proved wrong."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial as bind

from msgspec.structs import replace

from modeldist.agent.delta import Delta, Deltas
from modeldist.agent.lease_reads import LeaseReads
from modeldist.agent.node import Node
from modeldist.agent.open_shards import OpenShards, most_open
from modeldist.agent.parents import Parents
from modeldist.agent.parts import cut, wanted_ranges
from modeldist.agent.progress import ShardProgress
from modeldist.agent.publishing import Publisher
from modeldist.agent.reader_pool import ReaderPool
from modeldist.agent.shard_fetch import ShardFetch
from modeldist.agent.store import Partial, ShardLocked, Store
from modeldist.agent.store.failures import disk_failure
from modeldist.agent.whole_reads import WholeReads
from modeldist.artifact import Artifact, Digest, Shard
from modeldist.errors import Cancelled, IntegrityError, ModeldistError, StorageError
from modeldist.explain.waits import waits_for
from modeldist.logger import Logger
from modeldist.scheduler.messages import (
    HeldLease,
    JoinTasks,
    LeaveTasks,
    PieceDigest,
    Priority,
    ShardRejected,
    TaskJoin,
)
from modeldist.scheduler.phase2.messages import TaskRemoved
from modeldist.tracing import NO_SPAN, Span

log = Logger(__name__)

BATCH = 64  # shards opened and announced in one go

ShardEnded = Callable[[ShardProgress | None, dict[str, int], list[str]], None]
"""(final progress, bytes by parent, notes) of a shard, for the pulls that wanted it; None: notes alone."""


class Shards:
    """Loop thread only. `completed` is told of every shard that reached the store."""

    def __init__(
        self,
        node: Node,
        parents: Parents,
        readers: ReaderPool,
        whole: WholeReads,
        completed: Callable[[ShardFetch], None],
    ) -> None:
        self._node = node
        self._parents = parents
        self._readers = readers
        self._whole = whole
        self._completed = completed
        self._watchers: dict[str, ShardEnded] = {}
        self._traces: dict[str, str] = {}  # of pulls that have one: their traceparent
        self._publisher = Publisher(node, self._quiesce_complete, self._published)
        self._deltas = Deltas(node.store)
        self._one_at_a_time = asyncio.Lock()  # fills: they are the disk's work
        self.leases: LeaseReads  # set by the engine: leases end shards, shards stop leases

    def watch(self, pull: str, ended: ShardEnded, span: Span = NO_SPAN) -> None:
        """`span`: of the pull."""
        self._watchers[pull] = ended
        if span.context:
            self._traces[pull] = span.context

    def unwatch(self, pull: str) -> None:
        self._watchers.pop(pull, None)
        self._traces.pop(pull, None)

    async def fetch_all(
        self,
        artifact: Artifact,
        shards: Iterable[Shard],
        priority: Priority,
        pull: str,
        *,
        provisional: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        """Fetch these into the store. Raises the first failure; other pulls of the same shards go on.
        Raises ShardLocked when another process fetches one of them.

        `provisional`: ranges of them are wanted that nothing may prove, and the partial files stay open until this
        returns. What came is no part of the store then."""
        wanted: list[ShardFetch] = []
        ends: list[asyncio.Future[None]] = []
        locked: list[ShardLocked] = []
        shards = list(shards)
        delta = await self._delta(artifact, shards, priority, pull) if provisional is None else None
        whole, others = await self._sorted_out(shards)
        try:
            opened = OpenShards(most_open(beside=self._whole.descriptors if whole else 0) + bool(whole))
            if whole:
                reading = self._read_whole(artifact, whole, pull, locked)
                ends.append(asyncio.create_task(reading, name=f"small shards of {artifact.name}"))
                opened.add(ends)
            # Large ones first: their bytes move in the kernel while the many small ones need the interpreter.
            waiting = deque(sorted(others, key=lambda shard: -shard.size))
            while waiting and await opened.has_room():
                batch = [waiting.popleft() for _ in range(min(BATCH, opened.room, len(waiting)))]
                before = len(wanted)
                await self._begin(artifact, batch, priority, pull, wanted, provisional=provisional is not None)
                opened.add(fetch.done for fetch in wanted[before:])
                for fetch in wanted[before:]:
                    if delta is not None and not fetch.announced and delta.concerns(fetch):
                        self._fill(fetch, delta)
                self.join([fetch for fetch in wanted[before:] if not fetch.announced])
            await _all_or_first_error([*ends, *(fetch.done for fetch in wanted)])
            if locked:
                raise locked[0]
            if provisional is not None:
                await provisional()
        finally:
            for end in ends:
                end.cancel()
            await asyncio.gather(*ends, return_exceptions=True)
            for fetch in wanted:
                if fetch.wanted_by == {pull} and not fetch.ended:
                    await self.end(fetch, Cancelled(f"The pull of {fetch.path} was stopped."))
                fetch.wanted_by.discard(pull)
            # A shard that another pull began is read under its artifact, and that pull may have ended long ago.
            for read in {used.digest: used for used in (artifact, *(fetch.artifact for fetch in wanted))}.values():
                self._readers.forget(read)

    async def _delta(self, artifact: Artifact, shards: Sequence[Shard], priority: Priority, pull: str) -> Delta | None:
        """What of these is here in other versions. Raises Cancelled, ShardLocked."""

        async def fetch(index: Artifact, shard: Shard) -> None:
            await self.fetch_all(index, [shard], priority, pull)

        try:
            return await self._deltas.prepare(artifact, shards, fetch)
        except (Cancelled, ShardLocked):
            raise
        except (ModeldistError, OSError) as error:
            log.warning("no delta", artifact=artifact.reference, error=str(error))
            if ended := self._watchers.get(pull):
                ended(None, {}, [f"Changed files are fetched whole, without the model's chunk index: {error}"])
            return None

    def _fill(self, fetch: ShardFetch, delta: Delta) -> None:
        """Have it take what is here of it before it joins the swarm. No pull's own work: another may wait for it."""
        fetch.announced = fetch.filling = True
        fetch.hold()
        self._node.loop.spawn(self._filled(fetch, delta), f"fill {fetch.path}")

    async def _filled(self, fetch: ShardFetch, delta: Delta) -> None:
        holes: dict[int, tuple[tuple[int, int], ...]] = {}
        error: ModeldistError | None = None
        try:
            async with self._one_at_a_time:
                if not fetch.ended:
                    holes = await asyncio.to_thread(delta.fill, fetch)
        except (ModeldistError, OSError) as found:
            error = disk_failure(fetch.partial.path, found)
        except Exception:  # a bug; but nothing that is here is needed, and whoever waits must not wait for ever
            log.exception("nothing was taken from other versions", path=fetch.path)
        finally:
            fetch.filling = False
            fetch.release()
        if error is not None:
            await self.end(fetch, error)
        elif not fetch.ended:
            self._node.intake.reused += fetch.filled(holes)
            self.join([fetch])

    async def _sorted_out(self, shards: Iterable[Shard]) -> tuple[list[Shard], list[Shard]]:
        """(to be read whole, all others)."""
        wanted = list(shards)
        if not self._node.config.alone:
            return [], wanted
        suitable = await asyncio.to_thread(self._node.store.suitable, wanted) - self._node.fetches.keys()
        whole = [shard for shard in wanted if shard.digest in suitable]
        return whole, [shard for shard in wanted if shard.digest not in suitable]

    async def _read_whole(
        self, artifact: Artifact, shards: Sequence[Shard], pull: str, locked: list[ShardLocked]
    ) -> None:
        locked += await self._whole.fetch(artifact, shards, bind(self._taken_in, pull), pull)

    def _taken_in(self, pull: str, progress: ShardProgress, notes: list[str]) -> None:
        if ended := self._watchers.get(pull):
            ended(progress, {}, notes)

    def bytes_read(self, shard: Digest) -> int:
        """Of a small shard that is being read whole."""
        return self._whole.bytes_read(shard)

    async def _begin(
        self,
        artifact: Artifact,
        shards: Sequence[Shard],
        priority: Priority,
        pull: str,
        begun: list[ShardFetch],
        *,
        provisional: bool,
    ) -> None:
        """Open or share the shards' partial files; those that are in the store already are left out."""
        node = self._node
        fresh: list[Shard] = []
        for shard in shards:
            if (fetch := node.fetches.get(shard.digest)) and not fetch.ended:
                if fetch.shard.size != shard.size:
                    thing = f"{artifact.file_of(shard.digest).path} of {artifact.name}"
                    raise two_sizes(thing, shard, fetch.shard.size)
                if fetch.provisional and not provisional:
                    wanted_ranges(artifact, shard)  # raises where nothing would prove them
                    proven = bool(artifact.ranges_of(shard.digest))
                else:
                    proven = False
                if await self._widened(fetch, artifact, proven=proven):
                    fetch.wanted_by.add(pull)
                    begun.append(fetch)
                    continue
            fresh.append(shard)
        for shard, partial in await self._open(artifact, fresh, provisional=provisional):
            fetch = ShardFetch(
                shard=shard,
                artifact=artifact,
                path=artifact.file_of(shard.digest).path,
                partial=partial,
                priority=priority,
                done=node.loop.future(),
                local_bytes=0,
                trace=self._traces.get(pull, ""),
                ranges=wanted_ranges(artifact, shard, provisional=provisional),
            )
            fetch.local_bytes = fetch.wanted_here
            fetch.idle.set()
            fetch.wanted_by.add(pull)
            fetch.trust_again()
            node.fetches[shard.digest] = fetch
            begun.append(fetch)

    async def _widened(self, fetch: ShardFetch, artifact: Artifact, *, proven: bool) -> bool:
        """Have a running fetch bring what the artifact wants of it too; `proven`: from now on, all by its chunk table.
        False where it has just ended. Raises IntegrityError when what is here contradicts the table."""
        ranges = artifact.ranges_of(fetch.shard.digest)
        if not proven and fetch.covers(ranges):
            return True
        async with fetch.turn:
            if not fetch.ended:
                self._node.tell(LeaveTasks((fetch.shard.digest,)))  # its leases end: it will ask for other ones
                await self._leave(fetch)
            if fetch.ended:
                return False
            try:
                if proven and fetch.provisional:
                    await asyncio.to_thread(cut_by_table, fetch.partial, artifact)
                    fetch.artifact = artifact
                    fetch.trust_again()
                fetch.widen(ranges)
            finally:
                if fetch.done.done():  # it was provisional, and had what was wanted until now
                    fetch.done = self._node.loop.future()
                self.join([fetch])
        return True

    async def _open(
        self, artifact: Artifact, shards: Sequence[Shard], *, provisional: bool
    ) -> list[tuple[Shard, Partial]]:
        opens = bind(open_all, self._node.store, artifact, shards, provisional=provisional)
        opening = asyncio.ensure_future(asyncio.to_thread(opens))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            with suppress(ModeldistError):  # nothing was opened, then; the pull is stopped all the same
                for _, partial in await opening:
                    partial.close()
            raise

    def join(self, fetches: Iterable[ShardFetch]) -> None:
        """(Re-)introduce shards to the control plane, one message per priority."""
        by_priority: dict[Priority, list[TaskJoin]] = {}
        for fetch in fetches:
            if fetch.filling:
                continue  # it joins when it is filled
            fetch.announced = True
            leases = tuple(
                HeldLease(held.lease, held.start, held.count, held.after)
                for held in self._node.leases(fetch.shard.digest)
            )
            by_priority.setdefault(fetch.priority, []).append(introduction(fetch, leases))
        for priority, tasks in by_priority.items():
            self._node.tell(JoinTasks(tuple(tasks), priority))

    def complete(self, fetch: ShardFetch) -> None:
        """All pieces are there: prove the whole and publish it."""
        if not fetch.provisional:
            self._publisher.publish(fetch)
        elif not fetch.done.done():
            fetch.done.set_result(None)

    async def _quiesce_complete(self, fetch: ShardFetch) -> None:
        await self._quiesce(fetch, f"{fetch.path} is complete")

    async def _published(self, fetch: ShardFetch, error: ModeldistError | None) -> None:
        if isinstance(error, IntegrityError):
            await self._rejected(fetch, error)
        else:
            await self.end(fetch, error)

    async def _rejected(self, fetch: ShardFetch, error: IntegrityError) -> None:
        """Every piece was as promised and the shard is still wrong: some promise was false."""
        fetch.rejections += 1
        self._node.intake.rejected += 1
        fetch.note(str(error))
        self._node.tell(ShardRejected(fetch.shard.digest))
        alone = not fetch.peer_bytes.total() and not fetch.local_bytes
        if alone or fetch.rejections >= self._node.config.rejections:
            await self.end(fetch, error.about(f"{fetch.path} of {fetch.artifact.name}"))
        else:
            await self._start_again(fetch)

    async def restart(self, fetch: ShardFetch, reason: str) -> None:
        """Leave the task, let every transfer end, forget all pieces, join again; unless that happens already."""
        starts = fetch.starts
        async with fetch.turn:
            if fetch.starts == starts and not fetch.ended:
                fetch.note(f"Started again: {reason}")
                await self._start_again(fetch)

    async def _start_again(self, fetch: ShardFetch) -> None:
        await self._leave(fetch)
        if fetch.ended:
            return
        if not fetch.ranges or fetch.provisional:  # else its pieces were proven by more than what others said
            # Where all came from the origin, or it was wrong twice, the pieces of a selection can be to blame.
            suspects = fetch.rejections > 1 or (fetch.rejections == 1 and not fetch.peer_bytes.total())
            await asyncio.to_thread(bind(fetch.partial.reset, shown=suspects))
            fetch.start_again()
        if not fetch.ended:
            self.join([fetch])

    async def rejoin(self, fetch: ShardFetch) -> None:
        """The swarm cuts the shard otherwise than this node does (it was opened anew by another): let every transfer
        end and join again with the pieces that are here, to have them recut."""
        async with fetch.turn:
            if not fetch.ended:
                await self._leave(fetch)
            if not fetch.ended:
                self.join([fetch])

    async def _leave(self, fetch: ShardFetch) -> None:
        fetch.joined = False
        self._node.apply(TaskRemoved(fetch.shard.digest))
        await self._quiesce(fetch, f"{fetch.path} starts again")

    async def end(self, fetch: ShardFetch, error: ModeldistError | None) -> None:
        """Stop fetching. `error` None: the shard is in the store. Idempotent."""
        if fetch.ended:
            return
        fetch.ended = True
        task = fetch.shard.digest
        if fetch.joined:
            self._node.apply(TaskRemoved(task))
        if error is not None:
            self._node.tell(LeaveTasks((task,)))
            await self._quiesce(fetch, f"stopped fetching {fetch.path}")
        self._tell_watchers(fetch, complete=error is None)
        log.debug("shard ended", error=error.code if error is not None else "", **fetch.facts)
        if not fetch.partial.closed:
            try:
                await asyncio.to_thread(fetch.partial.close)
            except (OSError, StorageError) as failed:  # whoever waits for the shard must hear of its end all the same
                log.warning("cannot close a partial file", error=str(failed), **fetch.facts)
        if self._node.fetches.get(task) is fetch:
            del self._node.fetches[task]
        if error is None:
            self._completed(fetch)
        if fetch.done.done():
            return
        if error is None:
            fetch.done.set_result(None)
        else:
            fetch.done.set_exception(error)
            fetch.done.exception()  # seen: nobody may be waiting

    async def _quiesce(self, fetch: ShardFetch, reason: str) -> None:
        """Return when no thread writes into the partial file any more."""
        self.leases.stop_task(fetch.shard.digest)
        for parent in set(fetch.writers.values()):
            await self._parents.abort(parent, reason)
        await fetch.idle.wait()

    def _tell_watchers(self, fetch: ShardFetch, *, complete: bool) -> None:
        kept = fetch.wanted_bytes if complete else fetch.wanted_here
        final = replace(fetch.progress(), done=kept, complete=complete)
        for pull in fetch.wanted_by:
            if ended := self._watchers.get(pull):
                ended(final, dict(fetch.peer_bytes), list(fetch.notes))


def two_sizes(thing: str, shard: Shard, other: int) -> IntegrityError:
    """Two manifests disagree about one shard; `other` is what the one says that is being fetched already."""
    return IntegrityError(
        f"{thing}: the manifest says {shard.size} bytes for {shard.digest}, and another one, which is being pulled, "
        f"says {other}.",
        remedy="One of the two is wrong; pull again when the other pull has ended.",
    )


def introduction(fetch: ShardFetch, leases: tuple[HeldLease, ...]) -> TaskJoin:
    """How a fetch introduces itself to phase 1. `leases` are those it goes on reading from before."""
    digests = fetch.partial.digests()
    fetch.published = set(digests)
    return TaskJoin(
        fetch.shard.digest,
        fetch.shard.size,
        fetch.artifact.endpoint,
        fetch.partial.have().to_bytes(),
        tuple(PieceDigest(piece, digest) for piece, digest in sorted(digests.items())),
        piece_size=fetch.layout.piece_size if digests or leases or fetch.table else 0,
        chunks=fetch.table is not None,
        leases=leases,
        only=fetch.wanted.to_bytes() if fetch.ranges else b"",
        trace=fetch.trace,
    )


@waits_for("disk")
def open_all(
    store: Store, artifact: Artifact, shards: Sequence[Shard], *, provisional: bool = False
) -> list[tuple[Shard, Partial]]:
    """Partial files of those shards that are not in the store, cut as the artifact's chunk table says, if it has one,
    and without the pieces of an earlier pull that are not those of the table. Blocks; opens all or none."""
    opened: list[tuple[Shard, Partial]] = []
    try:
        for shard in shards:
            ranges = wanted_ranges(artifact, shard, provisional=provisional)
            partial = store.begin(shard, cut(artifact, shard).piece_size, ranges)
            if partial.committed:
                partial.discard()
                continue
            opened.append((shard, partial))
            cut_by_table(partial, artifact)
    except BaseException:
        for _, partial in opened:
            partial.close()
        raise
    return opened


def cut_by_table(partial: Partial, artifact: Artifact) -> None:
    """Cut it as the artifact's chunk table says, if it has one, and keep what pieces are those of the table. Blocks.
    Raises IntegrityError."""
    if (chunks := artifact.chunks_of(partial.digest)) is None:
        return
    try:
        partial.recut(chunks.chunk_size)
        partial.keep_only(chunks.all())
    except IntegrityError as error:
        raise error.about(f"{artifact.file_of(partial.digest).path} of {artifact.name}") from None


async def _all_or_first_error(futures: list[asyncio.Future[None]]) -> None:
    if not futures:
        return
    done, _ = await asyncio.wait(futures, return_when=asyncio.FIRST_EXCEPTION)
    for future in done:
        future.result()
