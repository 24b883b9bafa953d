"""An event loop in a thread of its own, so that blocking readers and other event loops can share async objects."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

_Result = TypeVar("_Result")


class BackgroundLoop:
    """Starts when first used. Thread-safe."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._running: tuple[asyncio.AbstractEventLoop, threading.Thread] | None = None

    def run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Block until it is done. Not for use on an event loop."""
        return self.start(work).result()

    def start(self, work: Coroutine[Any, Any, _Result]) -> Future[_Result]:
        """Begin, and leave it to itself."""
        return asyncio.run_coroutine_threadsafe(work, self._loop())

    async def wait(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """The same for another event loop; cancelling the caller cancels the work."""
        return await asyncio.wrap_future(self.start(work))

    def stop(self) -> None:
        """Blocks until the thread is gone; work still running is cancelled."""
        with self._lock:
            running, self._running = self._running, None
        if running is not None:
            loop, thread = running
            asyncio.run_coroutine_threadsafe(_cancel_all(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()

    def _loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._running is None:
                loop = asyncio.new_event_loop()
                thread = threading.Thread(target=_serve, args=(loop,), name=self._name, daemon=True)
                thread.start()
                self._running = loop, thread
            return self._running[0]


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()


async def _cancel_all() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
