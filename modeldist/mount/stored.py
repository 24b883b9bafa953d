"""A model with archives: only once they are here and unpacked can anybody say which files it has.

So it is mounted complete, from its snapshot, and read as one that arrives; nobody ever has to wait.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from modeldist.artifact import Digest


class StoredFile:
    """Of a snapshot. Raises OSError."""

    def __init__(self, snapshot: Path, path: str) -> None:
        self.path = path
        self.ranges: tuple[tuple[int, int], ...] = ()
        self.proven = True
        self.fd = os.open(snapshot / path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self.fd).st_size

    @contextmanager
    def reading(self) -> Iterator[int]:
        yield self.fd

    def ready(self, start: int = 0) -> int:
        return max(start, self.size)

    def wait(self, start: int, stop: int, timeout: float | None = None) -> None:
        pass

    def wait_proven(self, timeout: float | None = None) -> None:
        pass


class StoredModel:
    """Open until it is closed."""

    def __init__(self, reference: str, digest: Digest, snapshot: Path) -> None:
        self.reference = reference
        self.digest = digest
        self._snapshot = snapshot
        self.files: dict[str, StoredFile] = {}
        try:
            for path in _files_of(snapshot):
                self.files[path] = StoredFile(snapshot, path)
        except OSError:
            self.close()
            raise

    def want(self, wishes: Iterable[tuple[StoredFile, int, int]]) -> None:
        pass

    def wait_complete(self, timeout: float | None = None) -> Path:
        return self._snapshot

    def close(self) -> None:
        for file in self.files.values():
            os.close(file.fd)
        self.files = {}


@contextmanager
def stored_model(reference: str, digest: Digest, snapshot: Path) -> Iterator[StoredModel]:
    model = StoredModel(reference, digest, snapshot)
    try:
        yield model
    finally:
        model.close()


def _files_of(snapshot: Path) -> list[str]:
    return sorted(str(path.relative_to(snapshot)) for path in snapshot.rglob("*") if path.is_file())
