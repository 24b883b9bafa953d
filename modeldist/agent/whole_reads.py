"""Small shards that no other node takes part in: read whole and taken into the store, a batch of them by one thread.

Handing a shard of a few KiB from the loop to a reader, a hasher and a publisher costs several times what reading,
hashing and publishing it do. So a thread takes as many as a wait for the disk is worth, does everything for each of
them, and comes back once. One thread does that while the origin answers at once, several where it is waited for.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial as bind

from modeldist.agent.asleep import Asleep
from modeldist.agent.node import Node
from modeldist.agent.open_shards import most_taken_in
from modeldist.agent.progress import ShardProgress
from modeldist.agent.reader_pool import ReaderPool
from modeldist.agent.store import ShardLocked, Taken, WrongContent
from modeldist.artifact import Artifact, Digest, Shard
from modeldist.errors import Cancelled, IntegrityError, ModeldistError, StorageError
from modeldist.logger import Logger, facts
from modeldist.origins.base import RangeReader
from modeldist.transfer.rate_limit import RateLimit, sit_out

log = Logger(__name__)

_TOGETHER = 0.25  # seconds; what was read in that time is published
_LOOKED_AT = 0.05  # seconds that tell how fast reads are
_SLOW = 0.01  # seconds asleep a read; from there on it is the origin that is waited for
_ASKED_AHEAD = 64 << 10  # bytes; a larger one's time is not that of its request, nor is it lost for nothing
_HELD_BACK = 1000  # shards; what is read while the digests of large ones come to their end

Ended = Callable[[ShardProgress, list[str]], None]
"""(final progress, notes) of a shard."""


class _Stopped(Exception):
    """Nobody wants it any more."""


class _Run:
    """The small shards of one pull. What `bytes_read` has is being read, or read and not told of yet. `came`: bytes of
    all of them, `counted` by who looks at what is waited for; `threads`: those that read."""

    def __init__(
        self,
        artifact: Artifact,
        shards: Sequence[Shard],
        ended: Ended,
        over: asyncio.Future[None],
        asleep: Asleep,
        pull: str,
    ) -> None:
        self.artifact = artifact
        self.pull = pull
        self.threads: set[int] = set()
        self.came = self.counted = 0
        self.waiting = deque(shards)
        self.ended = ended
        self.over = over
        self.asleep = asleep
        self.facts = facts()  # of the pull
        self.bytes_read: dict[Digest, int] = {}
        self.width = 1
        self.held = False
        self.workers: set[int] = set()
        self.stopped = False
        self.error: ModeldistError | None = None
        self.locked: list[ShardLocked] = []
        self.looked_at = 0.0
        self.waited_then = len(shards)

    @property
    def ready(self) -> bool:
        """Whether more may be read now."""
        return not self.stopped and len(self.waiting) > (_HELD_BACK if self.held else 0)

    def path(self, shard: Shard) -> str:
        return self.artifact.file_of(shard.digest).path

    def failed(self, error: ModeldistError) -> None:
        """The first failure is the pull's."""
        self.error = self.error or error
        self.stopped = True


class _Batch:
    """Waiting shards, one after the other, for as long and as many as are worth a wait for the disk. For one thread."""

    def __init__(self, run: _Run, most: int, clock: Callable[[], float]) -> None:
        self._run = run
        self._left = most
        self._clock = clock
        self._until = clock() + _TOGETHER
        self.following: Shard | None = None
        """What comes after the one that was drawn last. Nobody else gets it."""

    def __iter__(self) -> Iterator[Shard]:
        self._follow()
        while (shard := self.following) is not None and not self._run.stopped:
            self._left -= 1
            self._follow()
            yield shard

    def _follow(self) -> None:
        self.following = None
        if self._left and self._run.ready and self._clock() <= self._until:
            with suppress(IndexError):
                self.following = self._run.waiting.popleft()


class WholeReads:
    """Loop thread only, but for `_work` and what it calls. `threads`: at most so many read at a time."""

    def __init__(
        self,
        node: Node,
        readers: ReaderPool,
        threads: int,
        rate: RateLimit,
        clock: Callable[[], float] = time.monotonic,
        asleep: Callable[[], Asleep] = Asleep,
    ) -> None:
        self._node = node
        self._readers = readers
        self._threads = threads
        self._rate = rate
        self._clock = clock
        self._asleep = asleep
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="whole")
        self._runs: list[_Run] = []
        self._batch = most_taken_in(threads)

    @property
    def descriptors(self) -> int:
        """Of files, that may be in use at a time."""
        return self._batch * self._threads

    async def fetch(
        self, artifact: Artifact, shards: Sequence[Shard], ended: Ended, pull: str = ""
    ) -> list[ShardLocked]:
        """Take `Store.suitable` shards into the store; all but those that another pull fetches, for each of which there
        is an error in what is returned. Raises the first failure when nothing is read any more; what was read until
        then is kept."""
        run = _Run(artifact, shards, ended, self._node.loop.future(), self._asleep(), pull)
        run.looked_at = self._clock()
        self._runs.append(run)
        self._employ(run)
        try:
            await asyncio.shield(run.over)
        except asyncio.CancelledError:
            run.stopped = True
            self._employ(run)
            await run.over
            raise
        finally:
            self._runs.remove(run)
        if run.error is not None:
            raise run.error
        return run.locked

    @property
    def runs(self) -> Sequence[_Run]:
        """Under way."""
        return self._runs

    def bytes_read(self, shard: Digest) -> int:
        """Of a shard that is being read, so far."""
        return sum(run.bytes_read.get(shard, 0) for run in self._runs)

    def tick(self, *, give_way: bool) -> None:
        """Some time has passed: read by several threads where one waits for the origin, and by one where none does.
        `give_way`: the last ones that are read in no time can wait until they are told to `go_on`."""
        now = self._clock()
        for run in self._runs:
            if now - run.looked_at < _LOOKED_AT:
                continue
            read = run.waited_then - len(run.waiting)
            slow = read * _SLOW < run.asleep.since()
            run.width = self._threads if slow else 1
            run.held = give_way and not slow
            run.looked_at, run.waited_then = now, len(run.waiting)
            self._employ(run)

    def go_on(self) -> None:
        """There is nothing to give way to."""
        for run in self._runs:
            if run.held:
                run.held, run.looked_at, run.waited_then = False, self._clock(), len(run.waiting)
                self._employ(run)

    def close(self) -> None:
        """Blocks until the reading threads have stopped."""
        for run in self._runs:
            run.stopped = True
        self._pool.shutdown(wait=True)

    def _employ(self, run: _Run) -> None:
        idle = [number for number in range(run.width) if number not in run.workers]
        for number in idle[: len(run.waiting)]:
            if run.ready:
                run.workers.add(number)
                self._pool.submit(self._work, run, number)
        if not run.workers and (run.stopped or not run.waiting) and not run.over.done():
            run.over.set_result(None)

    def _taken(self, run: _Run, batch: Sequence[Taken]) -> None:
        for shard, error in batch:
            origin = run.bytes_read.pop(shard.digest, 0)
            if isinstance(error, ShardLocked):
                run.locked.append(error)
            if isinstance(error, ShardLocked) or (error is None and not origin and shard.size):
                continue  # another pull's, which will be found in the store like what was there before
            done = shard.size if error is None else 0
            progress = ShardProgress(
                run.path(shard), shard.digest, shard.size, done, origin, 0, 0, complete=error is None
            )
            run.ended(progress, [] if error is None else self._failed(run, shard, error))

    def _failed(self, run: _Run, shard: Shard, error: ModeldistError) -> list[str]:
        if isinstance(error, Cancelled) and run.stopped:
            return []
        path = run.path(shard)
        if isinstance(error, WrongContent):
            error = wrong_at_the_origin(path, run.artifact, shard)
        run.failed(error.about(path))
        if isinstance(error, StorageError):
            return []
        log.warning("origin read failed", error=str(error), **{**run.facts, "task": shard.digest, "shard": path})
        return [f"Reading from the origin failed: {error}"]

    def _left(self, run: _Run, number: int, error: ModeldistError | None) -> None:
        run.workers.discard(number)
        if error is not None:
            run.failed(error)
        self._employ(run)

    # --- in the reading threads ---

    def _work(self, run: _Run, number: int) -> None:
        failed: ModeldistError | None = None
        thread = threading.get_native_id()
        self._node.loop.post(bind(run.asleep.begun, thread))
        run.threads.add(threading.get_ident())
        try:
            while run.ready and number < run.width:
                batch = _Batch(run, self._batch, self._clock)
                with self._readers.lent(run.artifact) as reader:
                    taken = self._node.store.take_in(batch, bind(self._read, run, batch, reader))
                self._node.loop.post(bind(self._taken, run, taken))
        except ModeldistError as error:
            failed = error
        except Exception as error:
            log.exception("taking in small shards failed")
            failed = ModeldistError(f"Storing files of {run.artifact.name} failed: {error!r}.")
        run.threads.discard(threading.get_ident())
        self._node.loop.post(bind(run.asleep.ended, thread))
        self._node.loop.post(bind(self._left, run, number, failed))

    def _read(self, run: _Run, batch: _Batch, reader: RangeReader, shard: Shard, fd: int) -> None:
        if not shard.size:
            return
        run.bytes_read[shard.digest] = 0

        def on_bytes(new: int) -> None:
            run.bytes_read[shard.digest] += new
            run.came += new
            if (pause := self._rate.spent(new)) > 0:
                sit_out(pause)
            if run.stopped:
                raise _Stopped

        try:
            if run.width == 1 and (following := batch.following) and 0 < following.size <= _ASKED_AHEAD:
                reader.ahead(following.digest, 0, following.size)
            reader.read(shard.digest, 0, shard.size, fd, 0, on_bytes)
        except _Stopped:
            reader.close()
            raise Cancelled(f"The pull of {run.path(shard)} was stopped.") from None
        except (ModeldistError, OSError):
            reader.close()
            raise
        except Exception as error:
            reader.close()
            raise ModeldistError(f"Reading {run.path(shard)} from the origin failed: {error!r}.") from error


def wrong_at_the_origin(path: str, artifact: Artifact, shard: Shard) -> IntegrityError:
    """What an origin sent itself is not what it said it has."""
    return IntegrityError(
        f"{path} of {artifact.name}: the origin sent {shard.size} bytes whose digest is not {shard.digest}.",
        remedy="The origin's copy is damaged or was replaced; push it again.",
    )
