"""What readers of arriving shards wait for next, of all readers together: the one place that tells phase 2.

A reader is whoever reads a model while it comes: a request at the gateway, a streaming loader, a mount.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import NamedTuple

from modeldist.agent.shard_fetch import ShardFetch
from modeldist.artifact import Digest
from modeldist.scheduler.phase2.messages import Awaited, Event, Run

_MOST_RUNS = 4096  # of all readers; what stands further behind has time
_IN_TURNS = 8  # pieces of one reader, then of the next


class Wish(NamedTuple):
    """Bytes `start` to `stop` of a shard."""

    shard: Digest
    start: int
    stop: int


class Wishes:
    """Loop thread only. `fetches` are the node's, `apply` hands an event to phase 2."""

    def __init__(self, fetches: Mapping[Digest, ShardFetch], apply: Callable[[Event], None]) -> None:
        self._fetches = fetches
        self._apply = apply
        self._of: dict[object, tuple[Wish, ...]] = {}
        self._models: dict[object, tuple[Digest, ...]] = {}
        self._told = Awaited()

    def want(self, reader: object, wishes: Sequence[Wish]) -> None:
        """What the reader waits for, in order. Replaces what it wished before."""
        self._of[reader] = tuple(wishes)
        self._tell()

    def read(self, reader: object, shards: Sequence[Digest]) -> None:
        """The reader reads these while they come, and would have what it does not wish for yet in this order."""
        self._models[reader] = tuple(shards)
        self._tell()

    def forget(self, reader: object) -> None:
        """It reads no more."""
        if self._of.pop(reader, None) is not None or self._models.pop(reader, None) is not None:
            self._models.pop(reader, None)
            self._tell()

    def begun(self, shard: Digest) -> None:
        """Phase 2 has begun with a shard, which may be cut otherwise than it was."""
        if self._of or self._models:
            self._tell()

    def _tell(self) -> None:
        read = dict.fromkeys(shard for shards in self._models.values() for shard in shards)
        runs: list[Run] = []
        for run in self._merged():
            if len(runs) == _MOST_RUNS:
                break
            runs.append(run)
        now = Awaited(tuple(runs), tuple(read))
        if now != self._told:
            self._told = now
            self._apply(now)

    def _merged(self) -> Iterator[Run]:
        """Of all readers, in turns."""
        queues = [self._runs(wishes) for wishes in self._of.values()]
        if len(queues) == 1:
            yield from queues[0]
            return
        for turn in zip_longest(*(_in_turns(queue) for queue in queues)):
            yield from (run for run in turn if run is not None)

    def _runs(self, wishes: tuple[Wish, ...]) -> Iterator[Run]:
        for shard, start, stop in wishes:
            fetch = self._fetches.get(shard)
            if fetch is None or fetch.ended or not fetch.joined or start >= min(stop, fetch.shard.size):
                continue
            size = fetch.layout.piece_size
            first = max(start, 0) // size
            yield Run(shard, first, -(-min(stop, fetch.shard.size) // size) - first)


def _in_turns(runs: Iterator[Run]) -> Iterator[Run]:
    for run in runs:
        for start in range(run.start, run.start + run.count, _IN_TURNS):
            yield Run(run.task, start, min(_IN_TURNS, run.start + run.count - start))
