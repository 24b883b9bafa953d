"""Following a pull live: whoever watches is told which nodes changed, never a backlog of every change."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from modeldist.control.admission.rooms import NOBODY, Rooms
from modeldist.scheduler.messages import Priority


class Watch:
    """Changes of one pull since the watcher last looked. `holder`: whose token asked; `sent_away`: it may see no
    more."""

    def __init__(self, holder: str = NOBODY) -> None:
        self.holder = holder
        self.sent_away = False
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

    def send_away(self) -> None:
        """Its token is good no more."""
        self.sent_away = True
        self.tell(None, ended=True)


class Watchers:
    """Who watches which pull."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._watches: dict[str, set[Watch]] = {}

    @contextmanager
    def watch(self, pull: str, holder: str = NOBODY) -> Iterator[Watch]:
        """`holder`: whose token asks. Raises Overloaded when too many watch already."""
        with self._rooms.place(self._rooms.streams, holder, Priority.SERVING):
            watch = Watch(holder)
            self._watches.setdefault(pull, set()).add(watch)
            try:
                yield watch
            finally:
                self._watches[pull].discard(watch)
                if not self._watches[pull]:
                    del self._watches[pull]

    def all(self) -> list[Watch]:
        """Those of now."""
        return [watch for watches in self._watches.values() for watch in watches]

    def tell(self, pull: str, node: str | None, ended: bool) -> None:
        for watch in self._watches.get(pull, ()):
            watch.tell(node, ended)

    def close(self) -> None:
        """The control plane stops: streams end as if the pull had, and their clients ask again."""
        for watch in self.all():
            watch.tell(None, True)
