"""One file of a model that arrives."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from modeldist.agent.reading_news import ReadFile, ShardNews
from modeldist.agent.store.failures import failure
from modeldist.artifact import Digest
from modeldist.errors import Cancelled, IntegrityError, ModeldistError, StorageError, Unsupported, UsageError
from modeldist.scheduler.pieces import PieceLayout, PieceSet

T = TypeVar("T")


class Arrival:
    """What all files of a model share: one condition, and how it ended. `failed` has an error for every later wait."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.failed: ModeldistError | None = None
        self.news = 0  # so many came
        self.complete = False
        self.closed = False
        self._process = os.getpid()

    @property
    def forked(self) -> bool:
        """Whether this is a child of the process that opened the model. No news come here, and locks may be held by
        threads that are not here."""
        return os.getpid() != self._process

    def check_here(self, path: str) -> None:
        """Raises UsageError in a child. Before any lock is taken."""
        if self.forked:
            raise UsageError(
                f"{path} was opened by process {self._process}, of which this one was forked.",
                remedy="Open the model in the process that reads it.",
            )

    def check_open(self, path: str) -> None:
        """Raises Cancelled when the model was closed."""
        if self.closed:
            raise Cancelled(f"{path} was closed.", remedy="Read it while its model is open.")

    def check(self, path: str) -> None:
        """Raises Cancelled when the model was closed, or what its pull failed of."""
        self.check_open(path)
        if self.failed is not None:
            raise self.failed.info().as_error()


class ArrivingShard:
    """The content of one file, or of several that are the same. Guarded by `arrival.changed`."""

    def __init__(self, digest: Digest, size: int, arrival: Arrival) -> None:
        self.news = ShardNews(digest, size)
        self.arrival = arrival
        self.fd: int | None = None
        self.held = False  # it is opened as soon as it can be; else when somebody looks at it
        self.promised = False  # some bytes were said to be ready
        self.wrong = False  # and taken back
        self._layout = PieceLayout(size, 1)
        self._have = PieceSet()

    def heard(self, news: ShardNews) -> None:
        """Take it in, and open the file anew where it has another path."""
        before, self.news = self.news, news
        self._layout, self._have = PieceLayout(news.size, news.piece_size), PieceSet.from_bytes(news.have)
        if news.restarts != before.restarts and self.promised:
            self.wrong = True
        if self.fd is not None and news.path not in ("", before.path):
            with suppress(FileNotFoundError):  # it is being published: there will be news of its new path
                self._open(news.path)
        elif self.held:
            with suppress(StorageError):  # whoever reads is told
                self.opened()

    def opened(self) -> int | None:
        """Its descriptor; None as long as there is no file. A model may have more files than a process descriptors, so
        those that nobody looks at have none. Raises StorageError."""
        if self.fd is None and self.news.path:
            try:
                self._open(self.news.path)
            except FileNotFoundError:
                return None
            except OSError as error:
                raise failure(error, "read what arrives", Path(self.news.path)) from error
        return self.fd

    def _open(self, path: str) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        if self.fd is None:
            self.fd = fd
            return
        try:
            if not os.path.sameopenfile(fd, self.fd):  # it came another way than by the file that was being filled
                os.dup2(fd, self.fd, inheritable=False)
        finally:
            os.close(fd)

    def run_end(self, at: int) -> int:
        """The offset before which all from `at` on is verified, and can be read."""
        if at >= self.news.size or self.opened() is None:
            return at
        return self._layout.run_end(self._have, at)

    def verified(self) -> tuple[tuple[int, int], ...]:
        return self._layout.ranges(self._have) if self.opened() is not None else ()

    def close(self) -> None:
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


class ArrivingFile:
    """Thread-safe. `path` is that in the snapshot, `size` in bytes; `ranges` the bytes that come at all, half-open,
    where a part of the file was selected (empty: all of it). Bytes that are not `ready` are undefined."""

    def __init__(self, listed: ReadFile, shard: ArrivingShard) -> None:
        self.path = listed.path
        self.digest = listed.digest
        self.size = listed.size
        self.ranges = listed.ranges
        self._shard = shard
        self._changed = shard.arrival.changed

    def __repr__(self) -> str:
        return f"<ArrivingFile {self.path!r}, {self.size} bytes>"

    @property
    def fd(self) -> int:
        """A descriptor to read it by, open until the model is closed; first waits until there is a file. Raises as
        `wait` does."""
        return self._until(self._shard.opened, None)

    def hold(self) -> None:
        """Have it opened as soon as it is here, so that it can be read whatever is removed from the store; else it is
        opened when it is first looked at."""
        with self._changed:
            self._shard.held = True
            with suppress(StorageError):  # whoever reads is told
                self._shard.opened()

    @property
    def proven(self) -> bool:
        """Whether what is ready has been proven by the shard's own digest, or is by a chunk table. Else pieces were
        only held against digests that may yet prove false: then `wait` and `ready` raise IntegrityError."""
        self._shard.arrival.check_here(self.path)
        with self._changed:
            return self._shard.news.proven

    @property
    def verified(self) -> tuple[tuple[int, int], ...]:
        """The bytes that are verified by now, as half-open ranges, ascending. Raises as `wait` does."""
        self._shard.arrival.check_here(self.path)
        with self._changed:
            self._check()
            found = self._shard.verified()
            self._shard.promised |= bool(found)
            return found

    def ready(self, start: int = 0) -> int:
        """The offset before which everything from `start` on is verified. Does not wait. What is here stays here when
        the pull fails. Raises IntegrityError when bytes that were ready were wrong, Cancelled when the model is
        closed."""
        self._shard.arrival.check_here(self.path)
        with self._changed:
            self._check()
            return self._ready(start)

    def wait(self, start: int, stop: int, timeout: float | None = None) -> None:
        """Return when bytes `start` to `stop` are verified. `timeout` in seconds: TimeoutError after that.

        Raises ModeldistError: what the pull failed of before they were, IntegrityError when bytes that were ready were
        wrong, Cancelled when the model is closed, Unsupported when these bytes are not among what was selected."""
        if not 0 <= start <= stop <= self.size:
            raise ValueError(f"{self.path} has no bytes {start} to {stop}: it has {self.size}")
        self._until(lambda: self._ready(start) >= stop or None, timeout)

    def wait_proven(self, timeout: float | None = None) -> None:
        """Return when all of it that comes is proven (see `proven`) and here. Raises as `wait` does."""
        if self.ranges:
            for start, stop in self.ranges:
                self.wait(start, stop, timeout)
        else:
            self.wait(0, self.size, timeout)
        self._until(lambda: self._shard.news.proven or None, timeout)

    def _ready(self, start: int) -> int:
        end = self._shard.run_end(start)
        self._shard.promised |= end > start
        return end

    def _until(self, found: Callable[[], T | None], timeout: float | None) -> T:
        self._shard.arrival.check_here(self.path)
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while True:
                self._check()
                if (result := found()) is not None:
                    return result
                self._shard.arrival.check(self.path)
                if self._shard.arrival.complete:
                    raise self._absent()
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise TimeoutError(f"{self.path}: not here in time")
                self._changed.wait(left)

    def _check(self) -> None:
        if self._shard.wrong:
            raise IntegrityError(
                f"Pieces of {self.path} were wrong and are fetched again.", remedy="Open the model again."
            )
        self._shard.arrival.check_open(self.path)

    def _absent(self) -> ModeldistError:
        if self.ranges:
            return Unsupported(
                f"These bytes of {self.path} are not among those that were selected.",
                remedy="Read what the selection has, or open the model without it.",
            )
        return StorageError(f"{self.path} has just been removed from the store.", remedy="Open the model again.")
