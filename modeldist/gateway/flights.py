"""Shards on their way into the store for those who read them through the gateway, each fetched once."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from msgspec.structs import replace

from modeldist.agent.downloads import Downloads
from modeldist.agent.engine import Engine
from modeldist.agent.making_room import reserved
from modeldist.agent.parts import wanted_ranges
from modeldist.agent.pulls import Pulls
from modeldist.agent.store import Lease, ShardLocked, Store
from modeldist.artifact import Artifact, Digest, Shard
from modeldist.errors import IntegrityError, ModeldistError
from modeldist.logger import Logger
from modeldist.scheduler.messages import Priority

log = Logger(__name__)

RANGE_LINGER = 2.0  # the same for some bytes of it, when nobody reads the whole
SNIFFED = 64 << 20  # bytes of a shard; who reads more of it, a range at a time, reads all of it
LINGER = 30.0  # seconds a shard is fetched on for nobody: clients that lost their connection come back
WRONG_FOR = 60.0  # seconds in which what was wrong twice is not fetched again
LOCK_PATIENCE = 0.25  # seconds per look at a shard that another process fetches


Span = tuple[int, int]
"""Bytes of a shard, half-open."""


class Flight:
    """One shard on its way, or some bytes of it. `task` ends when it is in the store, or with a ModeldistError; that of
    some bytes when nobody has read them for a while. `lease`: no collector takes it until the last reader has left."""

    def __init__(self, at: tuple[str, Digest, Span | None], shard: Shard, lease: Lease) -> None:
        self.at = at
        self.shard = shard
        self.lease = lease
        self.readers = 0
        self.joins = 0  # ever
        self.lingers: asyncio.TimerHandle | None = None
        self.task: asyncio.Task[None]  # set by who makes it


class Flights:
    """One event loop. `close()` ends all."""

    def __init__(
        self, engine: Engine, pulls: Pulls, linger: float = LINGER, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._engine = engine
        self._downloads = Downloads(engine, pulls, clock)
        self._linger = linger
        self._clock = clock
        # An artifact's; the engine fetches for all of them once.
        self._flights: dict[tuple[str, Digest, Span | None], Flight] = {}
        self._sniffed: Counter[Digest] = Counter()  # bytes that were asked for a range at a time
        self._missing: dict[str, set[Digest]] = {}  # by key of the recorded artifacts: shards that are not here yet
        self.restarted: set[Digest] = set()
        """Shards of which pieces were taken back: who has the beginning of one must not go on from there, and gets
        nothing of it again before all is proven."""
        self._failed: set[Digest] = set()  # with a wrong digest, once
        self._wrong: dict[Digest, tuple[float, IntegrityError]] = {}  # and again

    @contextmanager
    def joined(self, artifact: Artifact, key: str, shard: Shard, span: Span | None = None) -> Iterator[Flight]:
        """Have the shard on its way, or in the store, as long as somebody reads it. `key`: what the store files the
        artifact under. `span`: the bytes of it that are wanted, if the end is not among them; the others stay where
        they are. Raises IntegrityError when it was wrong twice, and a moment ago: there is no use in more."""
        flight = self._flight(artifact, key, shard, span)
        if flight.lingers is not None:
            flight.lingers.cancel()
            flight.lingers = None
        flight.readers += 1
        flight.joins += 1
        try:
            yield flight
        finally:
            flight.readers -= 1
            self._rest(flight)
            if not flight.readers and not flight.task.done():
                linger = self._linger if flight.at[2] is None else min(self._linger, RANGE_LINGER)
                flight.lingers = asyncio.get_running_loop().call_later(linger, flight.task.cancel)

    def _flight(self, artifact: Artifact, key: str, shard: Shard, span: Span | None) -> Flight:
        if span is not None and not self._alone(artifact, key, shard, span):
            span = None
        at = (key, shard.digest, span)
        flight = self._flights.get(at)
        if flight is not None and not flight.task.done():
            return flight
        failed, error = self._wrong.get(shard.digest, (0.0, None))
        if error is not None and self._clock() - failed < WRONG_FOR:
            raise error
        flight = self._flights[at] = Flight(at, shard, self._engine.store.lease((shard.digest,), artifact.digest))
        self._engine.store.use(artifact.digest)
        fetching = self._fetch(artifact, key, shard) if span is None else self._fetch_some(artifact, key, shard, span)
        flight.task = asyncio.create_task(fetching, name=f"gateway {shard.digest}")
        flight.task.add_done_callback(lambda done: self._landed(flight, done))
        return flight

    def _alone(self, artifact: Artifact, key: str, shard: Shard, span: Span) -> bool:
        """Whether these bytes are to come without the others. Where a chunk table proves pieces, what came in part
        would be kept as something that somebody had selected."""
        self._sniffed[shard.digest] += span[1] - span[0]
        return (
            (key, shard.digest, None) not in self._flights
            and self._sniffed[shard.digest] <= SNIFFED
            and artifact.chunks_of(shard.digest) is None
            and bool(wanted_ranges(_of(artifact, shard, span), shard, provisional=True))
            and not self._engine.store.has(shard.digest)
        )

    async def close(self) -> None:
        tasks = [flight.task for flight in self._flights.values()]
        for flight in self._flights.values():
            if flight.lingers is not None:
                flight.lingers.cancel()
            flight.task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @staticmethod
    def _rest(flight: Flight) -> None:
        if flight.task.done() and not flight.readers:
            flight.lease.release()

    def _landed(self, flight: Flight, task: asyncio.Task[None]) -> None:
        self._rest(flight)
        if flight.lingers is not None:
            flight.lingers.cancel()
        if self._flights.get(flight.at) is flight:
            del self._flights[flight.at]
        error = None if task.cancelled() else task.exception()  # seen: nobody may be reading any more
        if isinstance(error, IntegrityError):
            if flight.shard.digest in self._failed:
                self._wrong[flight.shard.digest] = (self._clock(), error)
            self._failed.add(flight.shard.digest)
            self.restarted.add(flight.shard.digest)
        elif error is None and not task.cancelled():
            self._failed.discard(flight.shard.digest)
            self._wrong.pop(flight.shard.digest, None)

    async def _fetch(self, artifact: Artifact, key: str, shard: Shard) -> None:
        await self._record(artifact, key)
        await self.bring(artifact, shard)
        await self._complete(artifact, key, shard)

    async def _fetch_some(self, artifact: Artifact, key: str, shard: Shard, span: Span) -> None:
        await self._record(artifact, key)
        await self.bring(_of(artifact, shard, span), shard, provisional=asyncio.Event().wait)

    async def _record(self, artifact: Artifact, key: str) -> None:
        """Or the collector takes what came."""
        store = self._engine.store
        if key not in self._missing or await asyncio.to_thread(store.lookup, key) is None:
            await asyncio.to_thread(store.record, artifact, key)
            self._missing[key] = await asyncio.to_thread(_missing, store.has, artifact)

    async def bring(
        self, artifact: Artifact, shard: Shard, *, provisional: Callable[[], Awaitable[object]] | None = None
    ) -> None:
        """Have the shard in the store, for who holds a lease of it. Raises ModeldistError. `provisional`: the ranges of
        it that the artifact names, until this returns (see `Shards.fetch_all`)."""
        if await asyncio.to_thread(self._engine.store.has, shard.digest):
            return
        with self._downloads.shown(artifact, shard, provisional=provisional is not None) as shown:
            await self._bring(artifact, shard, shown, provisional)

    async def _bring(
        self, artifact: Artifact, shard: Shard, shown: str, provisional: Callable[[], Awaitable[object]] | None
    ) -> None:
        engine, store = self._engine, self._engine.store
        while not await asyncio.to_thread(store.has, shard.digest):
            with await reserved(engine, artifact, [shard]):
                try:
                    await engine.shards.fetch_all(artifact, [shard], Priority.PULL, shown, provisional=provisional)
                except ShardLocked:
                    pass  # leave the reservation first
                else:
                    break
            await self._wait_for_other(shard)

    async def _wait_for_other(self, shard: Shard) -> None:
        """Another process on this node fetches it: wait for it instead of fetching twice."""
        if (fetch := self._engine.node.fetches.get(shard.digest)) and not fetch.ended:
            return
        while not await asyncio.to_thread(self._engine.store.wait_unlocked, shard.digest, LOCK_PATIENCE):
            pass

    async def _complete(self, artifact: Artifact, key: str, arrived: Shard) -> None:
        """With its last shard a model is one of those this node has, as if it had been pulled."""
        missing = self._missing[key]
        if arrived.digest not in missing:
            return
        missing.discard(arrived.digest)
        if artifact.origin == "oci-blobs":
            return  # nobody makes a directory of it
        store = self._engine.store
        try:
            if not missing and await asyncio.to_thread(_recorded_and_whole, store, artifact, key):
                await asyncio.to_thread(store.materialise, artifact)
                self._engine.announce()
        except ModeldistError as error:  # its bytes can be served all the same
            log.warning("no snapshot of a model that is all here", model=artifact.reference, error=str(error))


def _of(artifact: Artifact, shard: Shard, span: Span) -> Artifact:
    """The artifact as one that takes these bytes of a shard."""
    files = (replace(file, ranges=(span,)) if file.digest == shard.digest else file for file in artifact.files)
    return replace(artifact, files=tuple(files))


def _recorded_and_whole(store: Store, artifact: Artifact, key: str) -> bool:
    """Somebody may have removed it while it came."""
    return store.lookup(key) is not None and store.holds(artifact)


def _missing(has: Callable[[Digest], bool], artifact: Artifact) -> set[Digest]:
    return {shard.digest for shard in artifact.shards if not has(shard.digest)}
