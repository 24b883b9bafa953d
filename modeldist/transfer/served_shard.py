"""One subscription of one child: the right to read a shard, the opened shard, and what the child was told of it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from modeldist.artifact import Digest
from modeldist.scheduler.pieces import PieceSet
from modeldist.transfer.base import CheckCapability, OpenShard, ShardDirectory

log = logging.getLogger(__name__)

PUSH_INTERVAL = 0.02
"""Seconds between two rounds of have-updates that somebody waits for. A piece waits at every hop down a tree: with 0.05
R of sixty simulated striped nodes is 1.120, with this 1.105, as with none at all."""
LEISURE = 1.0
"""Seconds that news nobody waits for may take: a child can have such a piece where this node had it from."""


class ServedShard:
    """Opened by the thread that serves the child; `on_news` is called from whichever thread the directory
    calls its watchers from.

    Nothing is opened or watched for a child whose capability does not hold. `on_news` is told whether others wait for
    the news: once for those that can wait, and once more when others do.
    """

    def __init__(
        self,
        shard: Digest,
        child: str,
        *,
        directory: ShardDirectory,
        check: CheckCapability,
        on_news: Callable[[bool], None],
    ) -> None:
        self._shard = shard
        self._child = child
        self._capability = b""
        self._directory = directory
        self._check = check
        self._on_news = on_news
        self._lock = threading.Lock()
        self._news = PieceSet()
        self._awaited = False  # some of the news are
        self._open: OpenShard | None = None
        self._stop_watching: Callable[[], None] | None = None
        self._told_at = float("-inf")

    @property
    def allowed(self) -> bool:
        """Does the capability hold now?"""
        return permits(self._check, self._capability, self._child, self._shard)

    def is_of(self, shard: str) -> bool:
        return self._shard == shard

    def renew(self, capability: bytes) -> None:
        """From now on the child shows this capability."""
        self._capability = capability

    def start(self, now: float) -> PieceSet:
        """Begin watching; everything held, which the child is to be told at once.

        The shard is not kept open for it: a child may subscribe to a thousand shards and fetch from few at a time.
        """
        if self._stop_watching is None:
            self._stop_watching = self._directory.watch(self._shard, self._heard)
        self._told_at = now
        opened = self._directory.open(self._shard)
        if opened is None:
            return PieceSet()
        try:
            return opened.have()
        finally:
            opened.close()

    def close(self) -> None:
        if self._stop_watching:
            self._stop_watching()
            self._stop_watching = None
        self._close_shard()

    def _close_shard(self) -> None:
        if self._open:
            self._open.close()
            self._open = None

    # --- have-updates ---

    def _heard(self, pieces: PieceSet, awaited: bool) -> None:
        if not pieces:
            return
        with self._lock:
            known = bool(self._news) and (self._awaited or not awaited)
            self._news |= pieces
            self._awaited |= awaited
        if not known:
            self._on_news(awaited)

    @property
    def news_due(self) -> float | None:
        """When the next have-update may leave; None when there is none."""
        interval = PUSH_INTERVAL if self._awaited else LEISURE
        return self._told_at + interval if self._news else None

    def take_news(self, now: float) -> PieceSet:
        with self._lock:
            news, self._news, self._awaited = self._news, PieceSet(), False
        self._told_at = now
        return news

    # --- requests ---

    def readable(self, start: int, length: int) -> OpenShard | str:
        """The shard to read [start, start + length) from, or why not."""
        if not self.allowed:
            return "The capability for this shard has expired or does not hold here."
        missing = ""
        for _ in range(2):  # the shard may have been replaced since it was opened: look twice
            if self._open is None:
                self._open = self._directory.open(self._shard)
            if self._open is None:
                return "This node has nothing of the shard."
            missing = _missing(self._open, start, length)
            if not missing:
                return self._open
            self._close_shard()
        return missing


def _missing(opened: OpenShard, start: int, length: int) -> str:
    """Why the range cannot be served from `opened`; empty when it can."""
    layout = opened.layout
    if start + length > layout.size:
        return f"The shard has {layout.size} bytes; [{start}, {start + length}) is outside."
    first, last = start // layout.piece_size, (start + length - 1) // layout.piece_size
    wanted = PieceSet.span(first, last - first + 1)
    if opened.have() & wanted != wanted:
        return f"Not every piece of {first}..{last} is verified here."
    return ""


def permits(check: CheckCapability, capability: bytes, child: str, shard: Digest) -> bool:
    """A check that fails to decide decides no."""
    try:
        return check(capability, child, shard)
    except Exception:
        log.exception("the capability of child %s for shard %s could not be checked", child, shard)
        return False
