"""Blocking work with an end: who asked goes on when it takes too long, though nobody can stop the work itself."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

_Result = TypeVar("_Result")


async def within(seconds: float, work: Callable[[], _Result]) -> _Result:
    """Its result. Raises TimeoutError after `seconds`; the work is then left to itself, in a thread that keeps neither
    an event loop nor the process from ending."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[_Result] = loop.create_future()

    def settle(result: _Result | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except BaseException as raised:
            error = raised
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name="modeldist-question", daemon=True).start()
    async with asyncio.timeout(seconds):
        return await done
