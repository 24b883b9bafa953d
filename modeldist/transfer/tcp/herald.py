"""Have-updates of all children, a round at a time, from one thread.

Were each child's own thread woken for each piece, a swarm of N would cost every node N wake-ups, and as many fights
for the interpreter, for every piece it verifies.
"""

from __future__ import annotations

import threading
from typing import Protocol

from modeldist.transfer.served_shard import LEISURE, PUSH_INTERVAL


class Listener(Protocol):
    """A child with subscriptions."""

    def tell_news(self) -> None:
        """From the herald's thread. Never waits for the child, and raises nothing."""


class Herald:
    """`has_news` may be called by any thread. The first news that are awaited are told at once, later ones `interval`
    seconds after the round before; others with them, or when `leisure` seconds are over. Raises RuntimeError when the
    system gives no thread."""

    def __init__(self, interval: float = PUSH_INTERVAL, leisure: float = LEISURE) -> None:
        self._interval = interval
        self._leisure = leisure
        self._lock = threading.Lock()
        self._curious: dict[Listener, None] = {}
        self._news = threading.Event()
        self._awaited = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="have-updates", daemon=True)
        self._thread.start()

    def has_news(self, listener: Listener, *, awaited: bool) -> None:
        with self._lock:
            first = not self._curious
            self._curious[listener] = None
        if awaited:
            self._awaited.set()
        if first:
            self._news.set()

    def close(self) -> None:
        """Returns when the thread is gone."""
        self._closing.set()
        self._awaited.set()
        self._news.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            self._news.wait()
            self._awaited.wait(self._leisure)
            if self._closing.is_set():
                return
            self._news.clear()
            self._awaited.clear()
            with self._lock:
                round_, self._curious = self._curious, {}
            for listener in round_:
                listener.tell_news()
            self._closing.wait(self._interval)
