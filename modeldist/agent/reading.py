"""A model that is read while a pull brings it: what is where, and how far, told as it changes."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from msgspec.structs import replace

from modeldist.agent.engine import Engine
from modeldist.agent.pull import Pull
from modeldist.agent.pulls import Pulls
from modeldist.agent.reading_news import Ended, News, Opened, ReadFile, ShardNews, Still
from modeldist.agent.shard_fetch import ShardFetch
from modeldist.agent.wishes import Wish
from modeldist.artifact import Artifact, Digest
from modeldist.errors import AgentError
from modeldist.scheduler.pieces import PieceSet

HEARTBEAT = 5.0  # seconds without news after which that is said
TOGETHER = 0.01  # seconds; each telling takes the interpreter from threads that move bytes


@dataclass
class _Told:
    """What the reader knows of a shard; `starts` of the `fetch` that it was looked at in."""

    news: ShardNews
    fetch: ShardFetch | None = None
    starts: int = 0

    def look(self, fetch: ShardFetch | None) -> bool:
        """Whether pieces that were told may have been taken back. It is looked at `fetch` from now on."""
        before, starts = self.fetch, self.starts
        if fetch is not None:
            self.fetch, self.starts = fetch, fetch.starts
        return before is not None and before.starts != starts


_STOPPED = AgentError("The agent stopped.", remedy="Its log says why; open the model again to go on.").info()


class Reading:
    """One reader of one model. The engine's loop only."""

    def __init__(self, engine: Engine, pulls: Pulls, reference: str, *, offline: bool = False) -> None:
        """Begins a pull of its own. Raises InvalidReference."""
        self.id = uuid.uuid4().hex
        self._engine = engine
        self._pulls = pulls
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._left = False
        self._dirty: dict[Digest, None] = {}
        self._told: dict[Digest, _Told] = {}
        self._pull: Pull = pulls.start(reference, offline=offline)
        self._pull.heard = self._heard

    def want(self, wishes: Sequence[Wish]) -> None:
        """What the reader waits for, in order. Replaces what it wished before."""
        self._engine.node.wishes.want(self, wishes)

    def leave(self) -> None:
        """The agent stops: the reading ends now."""
        self._left = True
        self._changed.set()

    async def news(self) -> AsyncGenerator[News, None]:
        """First Opened, unless the pull fails before; last Ended, after all that there is to say of shards. Closing it
        (`aclose`) ends the reading, and its pull, unless that is over."""
        ended = asyncio.create_task(self._ended())
        try:
            with ExitStack() as watching:
                while self._pull.artifact is None and not (ended.done() or self._left):
                    if not await self._waited():
                        yield Still()
                if (artifact := self._pull.artifact) is not None:
                    self._watch(artifact, watching)
                    yield self._opened(artifact)
                while True:
                    over = ended.done() or self._left
                    for shard in self._to_look_at():
                        if (now := await self._look(shard)) is not None:
                            yield now
                    if over:
                        break
                    if not await self._waited():
                        yield Still()
                    await asyncio.sleep(TOGETHER)
            failed = self._pull.error.info() if self._pull.error else None
            error = failed if ended.done() else _STOPPED
            yield Ended("" if error else str(self._pull.path or ""), error)
        finally:
            ended.cancel()
            self._engine.node.wishes.forget(self)
            self._pull.heard = lambda _: None
            self._pulls.cancel(self._pull.id)

    async def _ended(self) -> None:
        with suppress(Exception):
            await self._pulls.wait(self._pull)
        self._dirty.update(dict.fromkeys(self._told))
        self._changed.set()

    async def _waited(self) -> bool:
        """For a change; False when none came for a while."""
        try:
            async with asyncio.timeout(HEARTBEAT):
                await self._changed.wait()
        except TimeoutError:
            return False
        self._changed.clear()
        return True

    def _heard(self, shard: Digest | None) -> None:
        """Something became known of the pull, or of a shard."""
        if shard is not None:
            self._dirty[shard] = None
        elif self._pull.artifact is not None:  # before any of it moves
            self._engine.node.wishes.read(self, [shard.digest for shard in self._pull.artifact.shards])
        self._changed.set()

    def _watch(self, artifact: Artifact, watching: ExitStack) -> None:
        directory = self._engine.store.directory()
        for shard in artifact.shards:
            self._told[shard.digest] = _Told(ShardNews(shard.digest, shard.size))
            self._dirty[shard.digest] = None
            watching.callback(directory.watch(shard.digest, self._verified(shard.digest)))

    def _verified(self, shard: Digest) -> Callable[[PieceSet, bool], None]:
        def on_verified(_: PieceSet, __: bool) -> None:  # in any thread
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._heard, shard)

        return on_verified

    def _proof(self, shard: Digest) -> Callable[[], None]:
        verified = self._verified(shard)
        return lambda: verified(PieceSet(), False)

    def _opened(self, artifact: Artifact) -> Opened:
        return Opened(
            self.id,
            self._pull.id,
            artifact.reference,
            artifact.digest,
            tuple(ReadFile(f.path, f.digest, f.size, f.ranges) for f in artifact.files if f.encoding == "raw"),
            tuple(f.path for f in artifact.files if f.encoding != "raw"),
        )

    # --- what is here of a shard ---

    def _to_look_at(self) -> Iterator[_Told]:
        dirty, self._dirty = self._dirty, {}
        return (self._told[shard] for shard in dirty if shard in self._told)

    async def _look(self, told: _Told) -> ShardNews | None:
        """What is new."""
        fetch = self._engine.node.fetches.get(told.news.digest)
        if fetch is not None and not fetch.ended:
            if fetch is not told.fetch:
                fetch.partial.watch_proof(self._proof(told.news.digest))
            now = _arriving(told, fetch)
        else:
            now = await asyncio.to_thread(self._stored, told)
        before, told.news = told.news, now
        return now if now != before else None

    def _stored(self, told: _Told) -> ShardNews:
        store, before = self._engine.store, told.news
        restarts = before.restarts + told.look(None)
        if (path := store.path(before.digest)) is not None:
            piece = PieceSet.full(1 if before.size else 0)
            return replace(
                before,
                path=str(path),
                piece_size=max(before.size, 1),
                have=piece.to_bytes(),
                proven=True,
                restarts=restarts,
            )
        if (sparse := store.sparse(before.digest)) is not None:
            size, have = sparse.layout.piece_size, sparse.have.to_bytes()
            return replace(before, path=str(sparse.path), piece_size=size, have=have, proven=True, restarts=restarts)
        return before


def _arriving(told: _Told, fetch: ShardFetch) -> ShardNews:
    before, have = told.news, fetch.partial.have()
    layout = fetch.layout
    taken_back = told.look(fetch)
    if layout.piece_size == before.piece_size:
        taken_back |= bool(PieceSet.from_bytes(before.have) - have)
    return replace(
        before,
        path=str(fetch.partial.path) if fetch.partial.named else "",
        piece_size=layout.piece_size,
        have=have.to_bytes(),
        proven=fetch.table is not None or fetch.partial.proven,
        restarts=before.restarts + taken_back,
    )
