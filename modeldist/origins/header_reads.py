"""Small ranges of an artifact's shards into memory, for headers: what a plan is made of before anything is fetched, and
what lint looks at."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from modeldist.artifact import Artifact, ArtifactFile, Digest
from modeldist.origins.base import RangeReader
from modelpack.plan.files import ListedFile
from modelpack.tensors.entries import ReadRange


class HeaderReads:
    """Ranged reads of one artifact, from any thread; a reader for each, kept until the end. `bytes`: read so far."""

    def __init__(self, artifact: Artifact, reader: Callable[[Artifact], RangeReader]) -> None:
        self._artifact = artifact
        self._reader = reader
        self._own = threading.local()
        self._opened = ExitStack()
        self._opening = threading.Lock()
        self._counting = threading.Lock()
        self.bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def open(self, file: ListedFile | ArtifactFile) -> ReadRange:
        """For `open_ranges` of `modelpack.plan.planning`."""

        def read(start: int, length: int) -> bytes:
            return self._read(Digest(file.digest), start, length)

        return read

    def _read(self, shard: Digest, start: int, length: int) -> bytes:
        if not length:
            return b""
        fd = os.memfd_create("header", os.MFD_CLOEXEC)
        try:
            self._reader_here().read(shard, start, length, fd, 0, self._count)
            with open(fd, "rb", closefd=False) as file:
                file.seek(0)
                return file.read(length)
        finally:
            os.close(fd)

    def _count(self, new: int) -> None:
        with self._counting:
            self.bytes += new

    def _reader_here(self) -> RangeReader:
        if (found := getattr(self._own, "reader", None)) is None:
            found = self._own.reader = self._reader(self._artifact)
            with self._opening:
                self._opened.callback(found.close)
        reader: RangeReader = found
        return reader
