"""A model that arrives: its files, and how it ends."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from modeldist.agent.reading_news import Ended, News, Opened, ShardNews
from modeldist.arriving.feed import Feed
from modeldist.arriving.file import Arrival, ArrivingFile, ArrivingShard
from modeldist.artifact import Digest
from modeldist.errors import AgentError, Cancelled, ModeldistError, PullFailed


class ArrivingModel:
    """Thread-safe. `reference` is pinned: what the one that was asked for means now, of `digest`; `files` has those of
    the snapshot by their paths, in its order. `packed`: names of archives, of which files are in the snapshot that
    cannot be read before it is complete."""

    def __init__(self, feed: Feed, reference: str) -> None:
        """Returns when it is known what the model is. Raises what the pull failed of. Closes `feed`, in the end."""
        self.reference = reference
        self.digest = Digest("")
        self.files: Mapping[str, ArrivingFile] = MappingProxyType({})
        self.packed: tuple[str, ...] = ()
        self._feed = feed
        self._arrival = Arrival()
        self._reading = ""
        self._path: Path | None = None
        self._shards: dict[Digest, ArrivingShard] = {}
        self._listener = threading.Thread(target=self._listen, name=f"news of {reference}", daemon=True)
        self._listener.start()
        try:
            with self._arrival.changed:
                while not self._reading:
                    self._arrival.check(reference)
                    self._arrival.changed.wait()
        except BaseException:
            self.close()
            raise

    @property
    def forked(self) -> bool:
        """Whether this is a child of the process that opened it: nothing but `close` does anything here."""
        return self._arrival.forked

    def want(self, wishes: Iterable[tuple[ArrivingFile, int, int]]) -> None:
        """What this reader waits for next: bytes `start` to `stop` of files, in this order. They are fetched before
        others, and their shards before other shards. Replaces what it wished before. Raises AgentError."""
        asked = [(file.digest, start, stop) for file, start, stop in wishes]
        self._arrival.check_here(self.reference)
        with self._arrival.changed:
            self._arrival.check(self.reference)
            if self._arrival.complete:
                return
        self._feed.want(self._reading, asked)

    def wait_news(self, seen: int = -1) -> int:
        """Return when more is known than what this returned last (`seen`), or all is. Raises what the pull failed of,
        Cancelled when the model was closed."""
        self._arrival.check_here(self.reference)
        with self._arrival.changed:
            while True:
                self._arrival.check(self.reference)
                if self._arrival.complete or self._arrival.news > seen:
                    return self._arrival.news
                self._arrival.changed.wait()

    def wait_complete(self, timeout: float | None = None) -> Path:
        """The snapshot's directory, once all is there and proven. Raises what the pull failed of, Cancelled when the
        model was closed, TimeoutError after `timeout` seconds."""
        self._arrival.check_here(self.reference)
        with self._arrival.changed:
            self._arrival.changed.wait_for(
                lambda: self._arrival.complete or self._arrival.closed or self._arrival.failed is not None, timeout
            )
            self._arrival.check(self.reference)
            if self._path is None:
                raise TimeoutError(f"{self.reference}: not complete in time")
            return self._path

    def close(self) -> None:
        """Stop what nobody else waits for. What has arrived is kept for the next time. Descriptors are closed."""
        if self._arrival.forked:  # what brings it is the parent's
            self._arrival.closed = True
            return
        with self._arrival.changed:
            if self._arrival.closed:
                return
            self._arrival.closed = True
            self._arrival.changed.notify_all()
        self._feed.close()
        self._listener.join()
        for shard in self._shards.values():
            shard.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # --- in the listening thread ---

    def _listen(self) -> None:
        try:
            for news in self._feed:
                with self._arrival.changed:
                    if self._arrival.closed:
                        return
                    self._heard(news)
                    self._arrival.news += 1
                    self._arrival.changed.notify_all()
            failed: ModeldistError = AgentError(
                f"The agent stopped while {self.reference} came.", remedy="Its log says why; open the model again."
            )
        except ModeldistError as error:
            failed = error
        except OSError as error:
            failed = PullFailed(f"{self.reference} cannot be read where it arrives: {error}.")
        except Exception as error:  # a bug; but whoever waits must learn of it
            failed = PullFailed(
                f"What arrives of {self.reference} was not understood: {type(error).__name__}: {error}.",
                remedy="Please report it.",
            )
        with self._arrival.changed:
            if not self._arrival.complete and self._arrival.failed is None:
                self._arrival.failed = Cancelled(f"{self.reference} was closed.") if self._arrival.closed else failed
            self._arrival.changed.notify_all()

    def _heard(self, news: News) -> None:
        match news:
            case Opened():
                self._open(news)
            case ShardNews():
                if (shard := self._shards.get(news.digest)) is not None:  # archives are nobody's to read
                    shard.heard(news)
            case Ended(error=None):
                self._path, self._arrival.complete = Path(news.path), True
            case Ended(error=error) if error is not None:
                self._arrival.failed = error.as_error()

    def _open(self, news: Opened) -> None:
        self.reference, self.digest, self.packed = news.reference, news.digest, news.packed
        files: dict[str, ArrivingFile] = {}
        for listed in news.files:
            shard = self._shards.setdefault(listed.digest, ArrivingShard(listed.digest, listed.size, self._arrival))
            files[listed.path] = ArrivingFile(listed, shard)
        self.files = MappingProxyType(files)
        self._reading = news.reading
