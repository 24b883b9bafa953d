"""What a mount asks of a model and its files. `lasting.py` has both, `stored.py` those that are complete."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, TypeVar

from modeldist.artifact import Digest


class ReadableFile(Protocol):
    """See `modeldist.mount.lasting`, and `modeldist.arriving.ArrivingFile`."""

    path: str
    size: int
    ranges: tuple[tuple[int, int], ...]

    def reading(self) -> AbstractContextManager[int]:
        """A descriptor to read it by inside the block."""

    @property
    def proven(self) -> bool: ...

    def ready(self, start: int = 0) -> int: ...

    def wait(self, start: int, stop: int, timeout: float | None = None) -> None: ...

    def wait_proven(self, timeout: float | None = None) -> None: ...


F = TypeVar("F", bound=ReadableFile)


class ReadableModel(Protocol[F]):
    """See `modeldist.mount.lasting`, and `modeldist.arriving.ArrivingModel`."""

    reference: str
    digest: Digest

    @property
    def files(self) -> Mapping[str, F]: ...

    def want(self, wishes: Iterable[tuple[F, int, int]]) -> None: ...

    def wait_complete(self, timeout: float | None = None) -> Path: ...
