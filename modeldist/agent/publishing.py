"""Complete shards on their way into the store: proven, synced, named. Small ones go together.

A shard of a few KiB costs less than handing it to a thread and back, and a wait for the disk serves many of them as
well as one: so those that are waiting are taken in one go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack

from modeldist.agent.node import Node
from modeldist.agent.shard_fetch import ShardFetch
from modeldist.agent.store import commit_all
from modeldist.agent.store.failures import failure
from modeldist.artifact import Digest
from modeldist.errors import ModeldistError

TOGETHER = 1 << 20  # bytes; larger shards are published one by one
BATCH = 64  # shards a thread publishes in one go
DRAINS = 2  # threads that do: one waits for the disk while the other works

Settled = Callable[[ShardFetch, ModeldistError | None], Awaitable[None]]
"""Told how it went: None when the shard is in the store and its partial file closed."""


class Publisher:
    """Loop thread only. `quiesce` waits until nothing writes to a shard's partial file any more."""

    def __init__(self, node: Node, quiesce: Callable[[ShardFetch], Awaitable[None]], settled: Settled) -> None:
        self._node = node
        self._quiesce = quiesce
        self._settled = settled
        self._waiting: list[ShardFetch] = []
        self._draining = 0

    def publish(self, fetch: ShardFetch) -> None:
        """All its pieces are there."""
        if fetch.shard.size > TOGETHER or fetch.writers or fetch.turn.locked():
            self._node.loop.spawn(self._publish([fetch]), f"commit {fetch.path}")
            return
        self._waiting.append(fetch)
        if self._draining < DRAINS and len(self._waiting) > self._draining * BATCH:
            self._draining += 1
            self._node.loop.spawn(self._drain(), "commit small shards")

    async def _drain(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
                await self._publish(batch)
        finally:
            self._draining -= 1

    async def _publish(self, fetches: Sequence[ShardFetch]) -> None:
        async with AsyncExitStack() as turns:
            for fetch in fetches:
                await turns.enter_async_context(fetch.turn)
            # Others were told to start again, or ended, meanwhile.
            ready = [fetch for fetch in fetches if not fetch.ended and fetch.finished]
            for fetch in ready:
                await self._quiesce(fetch)
            outcomes = await asyncio.to_thread(self._store, ready)
            for fetch, outcome in zip(ready, outcomes, strict=True):
                await self._settled(fetch, outcome)

    def _store(self, fetches: Sequence[ShardFetch]) -> list[ModeldistError | None]:
        for fetch in fetches:
            if fetch.from_peers:
                fetch.partial.distrust()  # a peer that was given up may have written late
        whole = [fetch for fetch in fetches if fetch.partial.have() == fetch.layout.all]
        # What came from the origin alone has no late writer either.
        read_only = any(fetch.from_peers for fetch in whole)
        committed = commit_all([fetch.partial for fetch in whole], read_only=read_only)
        outcomes = dict(zip((fetch.shard.digest for fetch in whole), committed, strict=True))
        return [
            self._stored(fetch, outcomes[fetch.shard.digest])
            if fetch.shard.digest in outcomes
            else self._settled_in_part(fetch)
            for fetch in fetches
        ]

    @staticmethod
    def _settled_in_part(fetch: ShardFetch) -> ModeldistError | None:
        """All that is wanted is here, and that is not the whole: it stays where it is."""
        try:
            fetch.partial.settle()
            fetch.partial.close()
        except ModeldistError as error:
            return error
        return None

    def _stored(self, fetch: ShardFetch, outcome: Digest | ModeldistError | OSError) -> ModeldistError | None:
        if isinstance(outcome, ModeldistError):
            return outcome
        try:
            if isinstance(outcome, OSError):
                raise outcome
            self._node.store.keep_piece_digests(fetch.partial)
            fetch.partial.close()
        except ModeldistError as error:
            return error
        except OSError as error:
            return failure(error, f"store {fetch.path}", self._node.store.root)
        return None
