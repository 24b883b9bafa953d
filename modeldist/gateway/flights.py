"""Shards on their way into the store for those who read them through the gateway, each fetched once."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from modeldist.agent.engine import Engine
from modeldist.agent.store import ShardLocked
from modeldist.artifact import Artifact, Digest, Shard
from modeldist.errors import IntegrityError, ModeldistError
from modeldist.logger import Logger
from modeldist.scheduler.messages import Priority

log = Logger(__name__)

LINGER = 30.0  # seconds a shard is fetched on for nobody: clients that lost their connection come back
WRONG_FOR = 60.0  # seconds in which what was wrong twice is not fetched again
LOCK_PATIENCE = 0.25  # seconds per look at a shard that another process fetches


class Flight:
    """One shard on its way. `task` ends when it is in the store, or with a ModeldistError."""

    def __init__(self, at: tuple[str, Digest], shard: Shard, task: asyncio.Task[None]) -> None:
        self.at = at
        self.shard = shard
        self.task = task
        self.readers = 0
        self.lingers: asyncio.TimerHandle | None = None


class Flights:
    """One event loop. `close()` ends all."""

    def __init__(self, engine: Engine, linger: float = LINGER, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._linger = linger
        self._clock = clock
        self._flights: dict[tuple[str, Digest], Flight] = {}  # an artifact's; the engine fetches for all of them once
        self._missing: dict[str, set[Digest]] = {}  # by key of the recorded artifacts: shards that are not here yet
        self.restarted: set[Digest] = set()
        """Shards of which pieces were taken back: who has the beginning of one must not go on from there, and gets
        nothing of it again before all is proven."""
        self._failed: set[Digest] = set()  # with a wrong digest, once
        self._wrong: dict[Digest, tuple[float, IntegrityError]] = {}  # and again

    @contextmanager
    def joined(self, artifact: Artifact, key: str, shard: Shard) -> Iterator[Flight]:
        """Have the shard on its way, or in the store, as long as somebody reads it. `key`: what the store files the
        artifact under. Raises IntegrityError when it was wrong twice, and a moment ago: there is no use in more."""
        at = (key, shard.digest)
        flight = self._flights.get(at)
        if flight is None or flight.task.done():
            failed, error = self._wrong.get(shard.digest, (0.0, None))
            if error is not None and self._clock() - failed < WRONG_FOR:
                raise error
            task = asyncio.create_task(self._fetch(artifact, key, shard), name=f"gateway {shard.digest}")
            flight = self._flights[at] = Flight(at, shard, task)
            task.add_done_callback(lambda done, landed=flight: self._landed(landed, done))  # type: ignore[misc]
        if flight.lingers is not None:
            flight.lingers.cancel()
            flight.lingers = None
        flight.readers += 1
        try:
            yield flight
        finally:
            flight.readers -= 1
            if not flight.readers and not flight.task.done():
                flight.lingers = asyncio.get_running_loop().call_later(self._linger, flight.task.cancel)

    async def close(self) -> None:
        tasks = [flight.task for flight in self._flights.values()]
        for flight in self._flights.values():
            if flight.lingers is not None:
                flight.lingers.cancel()
            flight.task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _landed(self, flight: Flight, task: asyncio.Task[None]) -> None:
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
        store = self._engine.store
        with store.lease((shard.digest,)):
            if key not in self._missing or await asyncio.to_thread(store.lookup, key) is None:
                await asyncio.to_thread(store.record, artifact, key)  # or the collector takes what came
                self._missing[key] = await asyncio.to_thread(_missing, store.has, artifact)
            await self.bring(artifact, shard)
        await self._complete(artifact, key, shard)

    async def bring(self, artifact: Artifact, shard: Shard) -> None:
        """Have the shard in the store, for who holds a lease of it. Raises ModeldistError."""
        engine, store = self._engine, self._engine.store
        pull = f"gateway-{uuid.uuid4().hex}"
        while not await asyncio.to_thread(store.has, shard.digest):
            with await asyncio.to_thread(store.reserve_for, artifact, [shard]):
                try:
                    await engine.shards.fetch_all(artifact, [shard], Priority.PULL, pull)
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
            if not missing and await asyncio.to_thread(store.holds, artifact):
                await asyncio.to_thread(store.materialise, artifact)
                self._engine.announce()
        except ModeldistError as error:  # its bytes can be served all the same
            log.warning("no snapshot of a model that is all here", model=artifact.reference, error=str(error))


def _missing(has: Callable[[Digest], bool], artifact: Artifact) -> set[Digest]:
    return {shard.digest for shard in artifact.shards if not has(shard.digest)}
