"""What readers of arriving shards wait for next, of all readers together: the one place that tells phase 2.

A reader is whoever reads a model while it comes: a request at the gateway, a streaming loader, a mount.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from modeldist.agent.shard_fetch import ShardFetch
from modeldist.artifact import Digest
from modeldist.scheduler.phase2.messages import Demand, Event

AHEAD = 2  # pieces asked for before others; more of them, and nodes that stream together have nothing to exchange


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
        self._demanded: dict[Digest, tuple[int, ...]] = {}

    def want(self, reader: object, wishes: Sequence[Wish]) -> None:
        """What the reader waits for, in order. Replaces what it wished before."""
        before = self._of.get(reader, ())
        self._of[reader] = tuple(wishes)
        self._tell({wish.shard for wish in (*before, *wishes)})

    def forget(self, reader: object) -> None:
        """It reads no more."""
        self._tell({wish.shard for wish in self._of.pop(reader, ())})

    def begun(self, shard: Digest) -> None:
        """Phase 2 has begun with a shard, or begun again."""
        self._demanded.pop(shard, None)
        self._tell((shard,))

    def _tell(self, shards: Iterable[Digest]) -> None:
        for shard in shards:
            fetch = self._fetches.get(shard)
            if fetch is None or fetch.ended or not fetch.joined:
                self._demanded.pop(shard, None)
                continue
            ahead = tuple(dict.fromkeys(self._next(fetch)))
            if ahead != self._demanded.get(shard, ()):
                self._demanded[shard] = ahead
                self._apply(Demand(shard, ahead))

    def _next(self, fetch: ShardFetch) -> Iterator[int]:
        """The next pieces for each reader; first those that a reader waits for this moment."""
        missing = fetch.wanted - fetch.partial.have()
        queues = [list(self._of_one(fetch, wishes, missing.bits)) for wishes in self._of.values()]
        for place in range(AHEAD):
            yield from (queue[place] for queue in queues if place < len(queue))

    @staticmethod
    def _of_one(fetch: ShardFetch, wishes: tuple[Wish, ...], missing: int) -> Iterator[int]:
        found = 0
        for wish in wishes:
            if wish.shard != fetch.shard.digest:
                continue
            bits = fetch.layout.touching(((wish.start, wish.stop),)).bits & missing
            while bits and found < AHEAD:
                low = bits & -bits
                yield low.bit_length() - 1
                bits ^= low
                missing &= ~low
                found += 1
