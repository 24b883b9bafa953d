"""What programs had fetched without a pull, shown as pulls are: by model, all that was asked for of it at one time."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec.structs import replace

from modeldist.agent.engine import Engine
from modeldist.agent.progress import PullSnapshot
from modeldist.agent.pull import Pull
from modeldist.agent.pulls import Pulls
from modeldist.artifact import Artifact, Digest, Shard
from modeldist.errors import Cancelled, ModeldistError
from modeldist.scheduler.messages import Priority

TOGETHER = 30.0  # seconds between two files of a model that count as one download


class Downloads:
    """One event loop. `pulls` shows them. `clock` in seconds."""

    def __init__(self, engine: Engine, pulls: Pulls, clock: Callable[[], float]) -> None:
        self._engine = engine
        self._pulls = pulls
        self._clock = clock
        self._newest: dict[str, _Download] = {}  # by name of the model

    @contextmanager
    def shown(self, artifact: Artifact, shard: Shard, *, provisional: bool = False) -> Iterator[str]:
        """While this shard is fetched; yields a name to fetch it under. `provisional`: some bytes of it, which end with
        whoever reads them."""
        download = self._newest.get(artifact.name)
        if download is None or self._clock() - download.ended_at > TOGETHER:
            self._forget_old()
            download = self._newest[artifact.name] = _Download(self._engine, artifact.name, self._clock)
        fetched = f"{download.id}-{uuid.uuid4().hex}"
        self._engine.shards.watch(fetched, download.shard_done)
        if download.begins(artifact, shard):
            self._pulls.show(download, download.over)
        error: ModeldistError | None = None
        try:
            yield fetched
        except asyncio.CancelledError:
            if not provisional:
                error = Cancelled("Nobody reads it any more.", remedy="Ask again to resume.")
            raise
        except ModeldistError as failed:
            error = failed
            raise
        finally:
            self._engine.shards.unwatch(fetched)
            download.ends(shard, error)

    def _forget_old(self) -> None:
        now = self._clock()
        self._newest = {name: one for name, one in self._newest.items() if now - one.ended_at <= TOGETHER}


class _Download(Pull):
    """`over` is done when nothing of it is being fetched."""

    def __init__(self, engine: Engine, name: str, clock: Callable[[], float]) -> None:
        super().__init__(engine, name, key="", pull=uuid.uuid4().hex, priority=Priority.PULL, offline=False)
        self.over: asyncio.Future[Path] = asyncio.get_running_loop().create_future()
        self.ended_at = clock()
        self._clock = clock
        self._going = 0
        self._errors: dict[Digest, ModeldistError] = {}

    def begins(self, artifact: Artifact, shard: Shard) -> bool:
        """Whether it is the first, or again the first, that is fetched."""
        known = self.artifact.files if self.artifact else ()
        files = [file for file in artifact.files if file.digest == shard.digest]
        self.artifact = replace(artifact, files=(*(file for file in known if file.digest != shard.digest), *files))
        self._errors.pop(shard.digest, None)
        if (row := self._final.get(shard.digest)) and not row.complete:
            del self._final[shard.digest]
        self._going += 1
        if self._going > 1:
            return False
        if self.over.done():
            self.over = asyncio.get_running_loop().create_future()
        self.state, self.error, self._seconds, self.ended_at = "pulling", None, None, float("inf")
        self._watch_time()
        return True

    def ends(self, shard: Shard, error: ModeldistError | None) -> None:
        if error is not None:
            self._errors[shard.digest] = error
        self._going -= 1
        if self._going:
            return
        self.ended_at = self._clock()
        self._seconds = self.snapshot().seconds
        self.error = next(iter(self._errors.values()), None)
        self.state = "done" if self.error is None else "cancelled" if isinstance(self.error, Cancelled) else "failed"
        if not self.over.done():
            self.over.set_result(Path())

    def snapshot(self) -> PullSnapshot:
        return replace(super().snapshot(), gateway=True)
