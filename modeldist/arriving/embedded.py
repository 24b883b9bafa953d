"""News of a model that an engine in a thread of this process brings."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Iterable, Iterator
from contextlib import aclosing, suppress

from modeldist.agent.past_pulls import PastPulls
from modeldist.agent.reading import Reading
from modeldist.agent.reading_news import News
from modeldist.agent.this_node import Node
from modeldist.agent.wishes import Wish
from modeldist.arriving.engine import engine_in_process
from modeldist.artifact import Digest
from modeldist.errors import ModeldistError, PullFailed
from modeldist.logger import in_silence


class EmbeddedFeed:
    """See `Feed`."""

    def __init__(self, node: Node, reference: str, *, offline: bool = False) -> None:
        self._node = node
        self._reference = reference
        self._offline = offline
        self._news: queue.SimpleQueue[News | ModeldistError | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main: asyncio.Task[None] | None = None
        self._reading: Reading | None = None
        self._thread = threading.Thread(target=self._run, name=f"arriving {reference}", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[News]:
        while (now := self._news.get()) is not None:
            if isinstance(now, ModeldistError):
                raise now
            yield now

    def want(self, reading: str, wishes: Iterable[tuple[Digest, int, int]]) -> None:
        asked = [Wish(*wish) for wish in wishes]
        with self._lock, suppress(RuntimeError):  # the loop is closed
            if self._loop is not None and self._reading is not None:
                self._loop.call_soon_threadsafe(self._reading.want, asked)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._loop is not None and self._main is not None:
                with suppress(RuntimeError):
                    self._loop.call_soon_threadsafe(self._main.cancel)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    # --- in the thread ---

    def _run(self) -> None:
        try:
            with in_silence():
                asyncio.run(self._bring())
        except ModeldistError as error:
            self._news.put(error)
        except asyncio.CancelledError:
            pass
        except Exception as error:  # a bug; but whoever waits must learn of it
            self._news.put(
                PullFailed(
                    f"Bringing {self._reference} failed unexpectedly: {type(error).__name__}: {error}.",
                    remedy="Please report it.",
                )
            )
        finally:
            self._news.put(None)

    async def _bring(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._loop, self._main = asyncio.get_running_loop(), asyncio.current_task()
        try:
            async with engine_in_process(self._node) as (engine, pulls):
                self._reading = reading = Reading(engine, pulls, self._reference, offline=self._offline)
                async with aclosing(reading.news()) as news:
                    async for now in news:
                        self._news.put(now)
                for pull in pulls.all():
                    await asyncio.to_thread(PastPulls(self._node.store).keep, pull.snapshot())
        finally:
            with self._lock:
                self._loop = self._main = None
