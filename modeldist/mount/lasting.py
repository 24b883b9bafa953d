"""A model that outlasts what brings it: an agent that restarts, an origin that was away. It is then opened again.

A mount lives for weeks, one pull does not. What was here stays readable meanwhile. Who reads what is missing is told
at once that it cannot be had; who reads a moment later has it tried again, and so has, after a while, nobody at all.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from modeldist.arriving import ArrivingFile, ArrivingModel
from modeldist.errors import Cancelled, IntegrityError, ModeldistError, Unsupported

AGAIN = 1.0  # seconds after a failure before a reader has it tried again
ALONE = (5.0, 600.0)  # seconds before it is when nobody reads, first and at most

Open = Callable[[str], ArrivingModel]


class LastingFile:
    """Of a LastingModel. As an ArrivingFile, but that a failed pull does not end it; wrong bytes do, for good."""

    def __init__(self, file: ArrivingFile, model: LastingModel) -> None:
        self.path = file.path
        self.size = file.size
        self.ranges = file.ranges
        self._model = model

    @contextmanager
    def reading(self) -> Iterator[int]:
        """A descriptor to read it by inside the block."""
        with self._model.using() as model:
            yield model.files[self.path].fd

    @property
    def proven(self) -> bool:
        return self._model.now(self.path).proven

    def ready(self, start: int = 0) -> int:
        return self._model.ready(self.path, start)

    def wait(self, start: int, stop: int, timeout: float | None = None) -> None:
        self._model.waiting(self.path, lambda file: file.wait(start, stop, timeout))

    def wait_proven(self, timeout: float | None = None) -> None:
        self._model.waiting(self.path, lambda file: file.wait_proven(timeout))


class LastingModel:
    """`open_again` is given the pinned reference of `first`. `tell` is given that it failed, and that it does not any
    more. To be closed."""

    def __init__(
        self,
        first: ArrivingModel,
        open_again: Open,
        tell: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.reference = first.reference
        self.digest = first.digest
        self._open = open_again
        self._tell = tell
        self._clock = clock
        self._now = first
        self._changed = threading.Condition()
        self._opening = threading.Lock()
        self._failed: tuple[float, ModeldistError] | None = None  # of `_now`
        self._wrong: dict[str, ModeldistError] = {}
        self._closed = False
        self._users: Counter[int] = Counter()  # who reads now, by the model's id()
        self._retired: dict[int, ArrivingModel] = {}
        _hold_all(first)
        self.files: Mapping[str, LastingFile] = MappingProxyType(
            {path: LastingFile(file, self) for path, file in first.files.items()}
        )

    def now(self, path: str) -> ArrivingFile:
        return self._now.files[path]

    @contextmanager
    def using(self) -> Iterator[ArrivingModel]:
        """What is open now stays so inside the block."""
        with self._changed:
            model = self._now
            self._users[id(model)] += 1
        try:
            yield model
        finally:
            with self._changed:
                self._users[id(model)] -= 1
                last = None if self._users[id(model)] else self._retired.pop(id(model), None)
            if last is not None:
                last.close()

    def ready(self, path: str, start: int) -> int:
        self._check_right(path)
        try:
            return self.now(path).ready(start)
        except IntegrityError as error:
            self._wrong.setdefault(path, error)
            raise
        except Cancelled:
            self._check_open()
            return start  # it is being opened again

    def waiting(self, path: str, wait: Callable[[ArrivingFile], None]) -> None:
        """Have `wait` done on what is open now. Raises what it does."""
        self._check_right(path)
        model = self._usable(AGAIN)
        try:
            wait(model.files[path])
        except Unsupported:
            raise
        except ModeldistError as error:
            self._check_open()
            self.ready(path, 0)  # raises, should bytes of this very file have been wrong
            self._note(model, error)
            raise

    def want(self, wishes: Iterable[tuple[LastingFile, int, int]]) -> None:
        model = self._now
        model.want([(model.files[file.path], start, stop) for file, start, stop in wishes])

    def wait_complete(self, timeout: float | None = None) -> Path:
        """The snapshot's directory; however often it fails, it is tried again. Raises Cancelled when closed."""
        pause = ALONE[0]
        while True:
            model = self._now
            try:
                return model.wait_complete(timeout)
            except ModeldistError as error:
                self._check_open()
                self._note(model, error)
            self._wait_for_another(model, pause)
            pause = min(2 * pause, ALONE[1])
            with suppress(ModeldistError):
                self._usable(0)  # it is said when that succeeds

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        with self._opening:
            for model in (self._now, *self._retired.values()):
                model.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _check_right(self, path: str) -> None:
        """Raises IntegrityError for a file of which wrong bytes were read."""
        if (wrong := self._wrong.get(path)) is not None:
            raise wrong.info().as_error()

    def _check_open(self) -> None:
        if self._closed:
            raise Cancelled(f"{self.reference} was closed.")

    def _wait_for_another(self, model: ArrivingModel, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._now is not model, seconds)

    def _note(self, model: ArrivingModel, error: ModeldistError) -> None:
        with self._changed:
            if model is not self._now or self._failed is not None:
                return
            self._failed = (self._clock(), error)
        self._tell(f"{self.reference} does not arrive: {error} What is here can be read; it is tried again.")

    def _due(self, after: float) -> bool:
        """Whether to open it again now; False: somebody else just did. Raises what it failed of when it is early."""
        self._check_open()
        if (failed := self._failed) is None:
            return False
        at, error = failed
        if self._clock() - at < after:
            raise error.info().as_error()
        return True

    def _usable(self, after: float) -> ArrivingModel:
        """What is open, opened again where it failed `after` seconds ago or earlier. Raises what it failed of."""
        if self._failed is None:
            return self._now
        with self._opening:
            if not self._due(after):
                return self._now
            try:
                model = self._open(self.reference)
            except ModeldistError as again:
                self._failed = (self._clock(), again)
                raise
            _hold_all(model)
            with self._changed:
                before, self._now, self._failed = self._now, model, None
                if busy := self._users[id(before)] > 0:
                    self._retired[id(before)] = before
                self._changed.notify_all()
            if not busy:
                before.close()
        self._tell(f"{self.reference} is opened again.")
        return model


def _hold_all(model: ArrivingModel) -> None:
    """What is mounted can be read whatever is removed from the store."""
    for file in model.files.values():
        file.hold()
