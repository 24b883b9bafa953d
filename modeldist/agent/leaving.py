"""That the agent stops: answers that go on as long as there is something to tell end first, and with them the
connections that a server would wait for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Leaving:
    """The agent's loop only."""

    def __init__(self) -> None:
        self.now = False
        self._told: dict[object, Callable[[], None]] = {}

    def leave(self) -> None:
        self.now = True
        for tell in list(self._told.values()):
            tell()

    @contextmanager
    def telling(self, tell: Callable[[], None]) -> Iterator[None]:
        """`tell` is called when the agent stops, at once where it does already."""
        key = object()
        self._told[key] = tell
        try:
            if self.now:
                tell()
            yield
        finally:
            del self._told[key]
