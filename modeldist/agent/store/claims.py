"""Disk for files that become known one by one, as an archive is unpacked."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from modeldist.agent.store.live import Reservation
from modeldist.errors import NotEnoughSpace

STEP = 64 << 20  # bytes reserved at a time where there is room, so that small files cost no look at the disk each


class Claims:
    """`claim` the bytes of each file before it is begun: the disk that is too small for it is found then, not in the
    middle of it. `reserve` takes bytes and raises NotEnoughSpace."""

    def __init__(self, reserve: Callable[[int], Reservation]) -> None:
        self._reserve = reserve
        self._held: Reservation | None = None
        self._written = 0
        self._ends = ExitStack()

    def claim(self, size: int) -> None:
        """What was claimed before is written by now. Raises NotEnoughSpace."""
        if self._held is not None:
            self._held.spend(self._written)
            self._written = 0
        if self._held is None or size > self._held.outstanding:
            self._ends.close()
            try:
                self._held = self._reserve(max(size, STEP))
            except NotEnoughSpace:
                self._held = self._reserve(size)
            self._ends.callback(self._held.release)
        self._written = size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ends.close()
