"""Local files, read and written by threads so that the event loop never waits for a disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, cast

from aiofiles.threadpool import wrap
from aiofiles.threadpool.binary import AsyncBufferedIOBase


@contextmanager
def opened(file: Path | int, mode: Literal["rb", "r+b"]) -> Iterator[AsyncBufferedIOBase]:
    """An open file or descriptor, closed at the end. Opening is not left to a thread: a task cancelled meanwhile
    would never learn of the file it has to close."""
    with open(file, mode) as raw:
        yield cast("AsyncBufferedIOBase", wrap(raw))
