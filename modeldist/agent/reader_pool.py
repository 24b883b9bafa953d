"""Open readers of artifacts, kept with their connections from one read to the next."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from modeldist.artifact import Artifact, Digest
from modeldist.origins.base import RangeReader


class Readers(Protocol):
    """Opens readers for an artifact's shards; `origins.router.Origins` does."""

    def reader(self, artifact: Artifact) -> RangeReader: ...


class ReaderPool:
    """Thread-safe. A reader is lent to one thread at a time."""

    def __init__(self, readers: Readers) -> None:
        self._readers = readers
        self._lock = threading.Lock()
        self._idle: dict[Digest, list[RangeReader]] = defaultdict(list)

    @contextmanager
    def lent(self, artifact: Artifact) -> Iterator[RangeReader]:
        """A reader of the artifact; one that fails its borrower is closed."""
        with self._lock:
            idle = self._idle.get(artifact.digest)
            reader = idle.pop() if idle else None
        reader = reader or self._readers.reader(artifact)
        try:
            yield reader
        except BaseException:
            reader.close()
            raise
        with self._lock:
            self._idle[artifact.digest].append(reader)

    def forget(self, artifact: Artifact) -> None:
        """Close the idle readers of this artifact."""
        with self._lock:
            idle = self._idle.pop(artifact.digest, [])
        for reader in idle:
            reader.close()

    def close(self) -> None:
        """Close all idle readers."""
        with self._lock:
            idle = [reader for readers in self._idle.values() for reader in readers]
            self._idle.clear()
        for reader in idle:
            reader.close()
