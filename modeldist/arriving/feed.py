"""Where the news of an arriving model come from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from modeldist.agent.reading_news import News
from modeldist.artifact import Digest


class Feed(Protocol):
    """One reading of one model. `close` and `want` may be called from any thread."""

    def __iter__(self) -> Iterator[News]:
        """Blocks for each. Raises ModeldistError where there can be no more."""

    def want(self, reading: str, wishes: Iterable[tuple[Digest, int, int]]) -> None:
        """What is waited for next: bytes `start` to `stop` of shards, in order; replaces what was wished before."""

    def close(self) -> None:
        """End the reading; `__iter__` ends soon."""
