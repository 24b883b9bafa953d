"""News of a model that the agent of this node brings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from modeldist.agent.local_client import LocalAgent
from modeldist.agent.reading_news import News
from modeldist.artifact import Digest


class AgentFeed:
    """See `Feed`. Raises AgentError, and what the agent answers."""

    def __init__(self, agent: LocalAgent, reference: str, *, offline: bool = False) -> None:
        self._agent = agent
        self._stream = agent.read(reference, offline=offline)

    def __iter__(self) -> Iterator[News]:
        return iter(self._stream)

    def want(self, reading: str, wishes: Iterable[tuple[Digest, int, int]]) -> None:
        self._agent.wish(reading, wishes)

    def close(self) -> None:
        self._stream.close()
