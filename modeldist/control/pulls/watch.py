"""Following a pull live: whoever watches is told which nodes changed, never a backlog of every change."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from modeldist.errors import ControlPlaneRefused

MOST_WATCHERS = 1000  # of all pulls together; each holds a connection


class Watch:
    """Changes of one pull since the watcher last looked."""

    def __init__(self) -> None:
        self._nodes: set[str] = set()
        self._ended = False
        self._wake = asyncio.Event()

    async def changes(self, at_most: float) -> tuple[set[str], bool]:
        """(nodes that changed, whether the pull ended); waits for one of both, `at_most` seconds."""
        try:
            async with asyncio.timeout(at_most):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()
        nodes, self._nodes = self._nodes, set()
        return nodes, self._ended

    def tell(self, node: str | None, ended: bool) -> None:
        if node is not None:
            self._nodes.add(node)
        self._ended = self._ended or ended
        self._wake.set()


class Watchers:
    """Who watches which pull."""

    def __init__(self, limit: int = MOST_WATCHERS) -> None:
        self._limit = limit
        self._watches: dict[str, set[Watch]] = {}
        self._count = 0

    @contextmanager
    def watch(self, pull: str) -> Iterator[Watch]:
        """Raises ControlPlaneRefused when too many watch already."""
        if self._count >= self._limit:
            raise ControlPlaneRefused(
                f"{self._count} clients follow pulls already.", remedy="Ask again later.", retry_after=5.0
            )
        watch = Watch()
        self._watches.setdefault(pull, set()).add(watch)
        self._count += 1
        try:
            yield watch
        finally:
            self._count -= 1
            self._watches[pull].discard(watch)
            if not self._watches[pull]:
                del self._watches[pull]

    def tell(self, pull: str, node: str | None, ended: bool) -> None:
        for watch in self._watches.get(pull, ()):
            watch.tell(node, ended)

    def close(self) -> None:
        """The control plane stops: streams end as if the pull had, and their clients ask again."""
        for watches in self._watches.values():
            for watch in watches:
                watch.tell(None, True)
