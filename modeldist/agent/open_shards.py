"""How many shards of a pull are open at once: each takes descriptors, of which a process has few."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Iterable

MOST = 512  # shards; more would make nothing faster
_EACH = 3  # descriptors of a shard: its file, its journal, its lock
_TAKEN_IN = 64  # small shards that one thread takes into the store in one go: a descriptor each
_OTHERS = 128  # descriptors of connections, pipes, and everything else


def most_open(beside: int = 0) -> int:
    """As many as this process's limit of descriptors allows, with so many others in use."""
    return max(1, min(MOST, (_descriptors() - beside) // _EACH))


def most_taken_in(threads: int) -> int:
    """How many small shards each of so many threads may have open: a third of all descriptors for them."""
    return max(1, min(_TAKEN_IN, _descriptors() // 3 // threads))


def _descriptors() -> int:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (MOST * _EACH + _TAKEN_IN * 64 if limit == resource.RLIM_INFINITY else limit) - _OTHERS


class OpenShards:
    """Counts shards that are open, by the futures of their ends. Loop thread only."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open = 0
        self._failed = False
        self._changed = asyncio.Event()

    @property
    def room(self) -> int:
        """How many more may be opened now."""
        return self._most - self._open

    def add(self, ends: Iterable[asyncio.Future[None]]) -> None:
        for end in ends:
            self._open += 1
            end.add_done_callback(self._ended)

    async def has_room(self) -> bool:
        """Wait until there is room; False when one of the shards has failed."""
        while not self._failed and not self.room:
            self._changed.clear()
            await self._changed.wait()
        return not self._failed

    def _ended(self, end: asyncio.Future[None]) -> None:
        self._open -= 1
        self._failed |= end.cancelled() or end.exception() is not None
        self._changed.set()
