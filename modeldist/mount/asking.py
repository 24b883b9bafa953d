"""Carries what `Prefetch` decides to the model that arrives."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Generic

import trio

from modeldist.errors import ModeldistError
from modeldist.mount.access_order import Range
from modeldist.mount.loading_order import tensor_order
from modeldist.mount.prefetch import Prefetch
from modeldist.mount.readable import F, ReadableFile, ReadableModel
from modelpack.errors import ModelPackError
from modelpack.safetensors_header import parse_header

OFTEN = 4 << 20  # bytes read between two looks at what comes next, while nobody waits


class Asking(Generic[F]):
    """In trio's thread; what blocks is done in others."""

    def __init__(self, model: ReadableModel[F], prefetch: Prefetch) -> None:
        self._model = model
        self._prefetch = prefetch
        self._changed = trio.Event()
        self._read = 0

    def read(self, path: str, start: int, stop: int) -> None:
        self._prefetch.read(path, start, stop)
        self._read += stop - start
        if self._read >= OFTEN:
            self._changed.set()

    @contextmanager
    def waiting(self, path: str, start: int, stop: int) -> Iterator[None]:
        wait = self._prefetch.waits(path, start, stop)
        self._changed.set()
        try:
            yield
        finally:
            self._prefetch.served(wait)

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            self._read = 0
            wishes = self._prefetch.wishes(self._missing)
            await trio.to_thread.run_sync(self._want, wishes, abandon_on_cancel=True)
            await self._changed.wait()
            self._changed = trio.Event()

    async def look_at_headers(self) -> None:
        """Refine the plan by each safetensors header as it comes."""
        for file in self._model.files.values():
            if not file.path.endswith(".safetensors"):
                continue
            order = await trio.to_thread.run_sync(_tensors_of, file, abandon_on_cancel=True)
            if len(order) > 1:
                self._prefetch.refine(file.path, order)
                self._changed.set()

    def _missing(self, wish: Range) -> bool:
        try:
            return self._model.files[wish.path].ready(wish.start) < wish.stop
        except ModeldistError:
            return False

    def _want(self, wishes: tuple[Range, ...]) -> None:
        with suppress(ModeldistError):  # whoever reads is told
            self._model.want([(self._model.files[path], start, stop) for path, start, stop in wishes])


def _tensors_of(file: ReadableFile) -> tuple[Range, ...]:
    def read(start: int, length: int) -> bytes:
        file.wait(start, start + length)
        with file.reading() as fd:
            return os.pread(fd, length, start)

    try:
        return tensor_order(file.path, parse_header(read, file.size, name=file.path))
    except (ModeldistError, ModelPackError, OSError):
        return ()  # then it is read from front to back
