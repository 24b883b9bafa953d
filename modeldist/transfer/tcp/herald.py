"""Have-updates of all children, a round at a time, from one thread.

Were each child's own thread woken for each piece, a swarm of N would cost every node N wake-ups, and as many fights
for the interpreter, for every piece it verifies. So whoever verifies one only notes it here, once for all children.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial as bind
from typing import Protocol

from modeldist.artifact import Digest
from modeldist.scheduler.pieces import PieceSet
from modeldist.transfer.base import OnVerified, OpenShard, ShardDirectory
from modeldist.transfer.served_shard import LEISURE, PUSH_INTERVAL


class Listener(Protocol):
    """A child with subscriptions."""

    def tell_news(self) -> None:
        """From the herald's thread. Never waits for the child, and raises nothing."""


@dataclass(eq=False)
class _Watched:
    """A shard that children are told of."""

    watchers: list[OnVerified] = field(default_factory=list)
    stop: Callable[[], None] = lambda: None
    news: PieceSet = PieceSet()
    awaited: bool = False  # some of the news are


class Herald:
    """A `ShardDirectory` whose watchers are called in rounds, from the herald's thread; `has_news` is for them.

    The first news that are awaited are told at once, later ones `interval` seconds after the round before; others with
    them, or when `leisure` seconds are over. Raises RuntimeError when the system gives no thread.
    """

    def __init__(self, directory: ShardDirectory, interval: float = PUSH_INTERVAL, leisure: float = LEISURE) -> None:
        self._directory = directory
        self._interval = interval
        self._leisure = leisure
        self._lock = threading.Lock()
        self._watched: dict[Digest, _Watched] = {}
        self._with_news: dict[_Watched, None] = {}
        self._listeners: dict[Listener, None] = {}  # to be told in this round
        self._news = threading.Event()
        self._awaited = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="have-updates", daemon=True)
        self._thread.start()

    def open(self, shard: Digest) -> OpenShard | None:
        return self._directory.open(shard)

    def watch(self, shard: Digest, on_have: OnVerified) -> Callable[[], None]:
        """Call `on_have` with the pieces that become verified from now on, and perhaps some from a moment before.
        Returns a function that stops it."""
        with self._lock:
            watched = self._watched.get(shard)
            if watched is None:
                watched = self._watched[shard] = _Watched()
                watched.stop = self._directory.watch(shard, bind(self._note, watched))
            watched.watchers.append(on_have)

        def stop() -> None:
            with self._lock:
                if on_have in watched.watchers:
                    watched.watchers.remove(on_have)
                    if not watched.watchers:
                        del self._watched[shard]
                        watched.stop()

        return stop

    def has_news(self, listener: Listener) -> None:
        """From within a call to a watcher: it is told when all watchers of the round have been called."""
        self._listeners[listener] = None

    def close(self) -> None:
        """Returns when the thread is gone."""
        self._closing.set()
        self._awaited.set()
        self._news.set()
        self._thread.join()

    def _note(self, watched: _Watched, pieces: PieceSet, awaited: bool) -> None:
        """From whichever thread verified them."""
        with self._lock:
            watched.news |= pieces
            watched.awaited |= awaited
            first = not self._with_news
            self._with_news[watched] = None
        if awaited and not self._awaited.is_set():
            self._awaited.set()
        if first:
            self._news.set()

    def _run(self) -> None:
        while True:
            self._news.wait()
            self._awaited.wait(self._leisure)
            if self._closing.is_set():
                return
            self._news.clear()
            self._awaited.clear()
            self._round()
            self._closing.wait(self._interval)

    def _round(self) -> None:
        for watchers, news, awaited in self._take_news():
            for on_have in watchers:
                on_have(news, awaited)
        listeners, self._listeners = self._listeners, {}
        for listener in listeners:
            listener.tell_news()

    def _take_news(self) -> list[tuple[tuple[OnVerified, ...], PieceSet, bool]]:
        with self._lock:
            with_news, self._with_news = self._with_news, {}
            taken = [(tuple(watched.watchers), watched.news, watched.awaited) for watched in with_news]
            for watched in with_news:
                watched.news, watched.awaited = PieceSet(), False
        return taken
