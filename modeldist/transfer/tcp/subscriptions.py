"""The shards one child has subscribed to: frames in, frames out; sends nothing itself."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from modeldist.artifact import Digest
from modeldist.scheduler.pieces import PieceSet
from modeldist.transfer import frames
from modeldist.transfer.base import CheckCapability, OpenShard, ShardDirectory
from modeldist.transfer.link_shard import LINK_SHARD
from modeldist.transfer.served_shard import ServedShard

_MOST = 8192

log = logging.getLogger(__name__)


class Subscriptions:
    """For one thread at a time; `on_news` is called from whichever thread the directory calls its watchers from."""

    def __init__(
        self,
        child: str,
        directory: ShardDirectory,
        check: CheckCapability,
        *,
        clock: Callable[[], float],
        on_news: Callable[[], None],
    ) -> None:
        self._child = child
        self._directory = directory
        self._check = check
        self._clock = clock
        self._on_news = on_news
        self._shards: dict[int, ServedShard] = {}
        self._lock = threading.Lock()
        self._with_news: set[int] = set()

    def __bool__(self) -> bool:
        return bool(self._shards)

    def add(self, frame: frames.Subscribe) -> frames.Have | frames.SubscribeRefused:
        """Begin, or renew the capability of, a subscription; the answer. Raises ProtocolError."""
        number = frame.subscription
        shard = self._shards.get(number) or self._make(number, Digest(frame.shard))
        if not shard.is_of(frame.shard):
            raise frames.ProtocolError("One subscription number was used for two shards.")
        shard.renew(frame.capability)
        if not shard.allowed:
            return frames.SubscribeRefused(number, "The capability for this shard has expired or does not hold here.")
        if number not in self._shards and len(self._shards) >= _MOST:
            return frames.SubscribeRefused(number, f"One connection carries {_MOST} subscriptions and no more.")
        self._shards[number] = shard
        try:
            return frames.Have.of(number, shard.start(self._clock()))
        except Exception:
            log.exception("cannot open shard %s for child %s", frame.shard, self._child)
            return frames.Have.of(number, PieceSet())

    def remove(self, number: int) -> None:
        if shard := self._shards.pop(number, None):
            shard.close()

    def readable(self, request: frames.Request) -> OpenShard | str:
        """The shard to read the requested range from, or why not."""
        shard = self._shards.get(request.subscription)
        if shard is None:
            return "Not subscribed to this shard."
        try:
            return shard.readable(request.start, request.length)
        except Exception:
            log.exception("cannot read a shard for child %s", self._child)
            return "This node cannot read the shard; its log says why."

    def measures(self, request: frames.Request) -> bool:
        """Whether it is for the link shard."""
        shard = self._shards.get(request.subscription)
        return shard is not None and shard.is_of(LINK_SHARD)

    def close(self) -> None:
        for number in list(self._shards):
            self.remove(number)

    # --- have-updates ---

    def take_news(self) -> list[frames.Have]:
        """What became verified since the last time."""
        with self._lock:  # before the news are taken: what comes in between is taken along, what comes later noted
            numbers, self._with_news = self._with_news, set()
        return [have for number in numbers if (have := self._take_news_of(number))]

    def _take_news_of(self, number: int) -> frames.Have | None:
        shard = self._shards.get(number)
        if shard and (news := shard.take_news(self._clock())) and shard.allowed:
            return frames.Have.of(number, news)
        return None

    def _make(self, number: int, shard: Digest) -> ServedShard:
        return ServedShard(
            shard,
            self._child,
            directory=self._directory,
            check=self._check,
            on_news=lambda _: self._heard(number),
        )

    def _heard(self, number: int) -> None:
        with self._lock:
            self._with_news.add(number)
        self._on_news()
