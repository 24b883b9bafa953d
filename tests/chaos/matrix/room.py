"""The room on the disk under all disks of a world. A world without it shows faults that nobody made: an origin whose
log stays empty, a database that ends, bytes that are lost. So none is made without, and what happens while there is
none is no result."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.netlab.namespaces import LabError

_BESIDES = 256 << 20  # bytes, of what a world has beside its disks: models at the registry and logs
_FULL = 32 << 20  # bytes: less is none, as others write too
_EVERY = 0.1  # seconds


class NoRoom(LabError):
    """The machine's disk is full, or too small for what is asked for: nothing that was seen is a result."""


def needed(worlds: int, disks: int, size: int) -> int:
    """Bytes for so many worlds at once, each with so many disks of `size` bytes."""
    return worlds * (disks * size + _BESIDES)


def demand(folder: Path, bytes_: int) -> None:
    """Raises NoRoom where less than that is available in `folder`."""
    if (free := available(folder)) < bytes_:
        raise NoRoom(
            f"{_gb(bytes_)} of room are needed in {folder}, and {_gb(free)} are available on its disk. Free some space "
            "there, or ask for fewer worlds at once (`--workers 1`)."
        )


def available(folder: Path) -> int:
    """Bytes that an ordinary user may still write there."""
    return shutil.disk_usage(folder).free


class Room:
    """Looks all the time at what is available in a folder, until the block ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._over = threading.Event()
        self._looking = threading.Thread(target=self._look, daemon=True)
        self.least = available(folder)

    def __enter__(self) -> Self:
        self._looking.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._looking.join()

    def begin(self) -> None:
        """Forget what has been."""
        self.least = available(self._folder)

    @property
    def was_full(self) -> bool:
        """At any time since it began."""
        return min(self.least, available(self._folder)) < _FULL

    def __str__(self) -> str:
        return f"host disk free: {_gb(available(self._folder))} now, {_gb(self.least)} at the least during this"

    def _look(self) -> None:
        while not self._over.wait(_EVERY):
            self.least = min(self.least, available(self._folder))


def _gb(size: int) -> str:
    return f"{size / 1e9:.2f} GB"
