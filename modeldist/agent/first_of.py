"""Several ways to the same thing, of which the first that works is taken."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from modeldist.errors import ControlPlaneError

T = TypeVar("T")


async def first_of(
    ways: Sequence[Callable[[], Awaitable[T]]], after: float, too_late: Callable[[T], Awaitable[None]]
) -> tuple[int, T] | list[ControlPlaneError]:
    """Try the ways in order: the next one when one failed, and beside it when it has not ended after `after` seconds.

    (which, what it gave), or what all of them raised. What a slower one gave goes to `too_late`. Raises at once what is
    no ControlPlaneError.
    """
    tasks: list[asyncio.Task[T]] = []
    winner: asyncio.Task[T] | None = None
    errors: list[ControlPlaneError] = []
    pending: set[asyncio.Task[T]] = set()
    try:
        while pending or len(tasks) < len(ways):
            if len(tasks) < len(ways):
                tasks.append(asyncio.create_task(_run(ways[len(tasks)])))
                pending.add(tasks[-1])
            wait = after if len(tasks) < len(ways) else None
            done, pending = await asyncio.wait(pending, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                error = task.exception()
                if error is None:
                    winner = task
                    return tasks.index(task), task.result()
                if not isinstance(error, ControlPlaneError):
                    raise error
                errors.append(error)
        return errors
    finally:
        others = [task for task in tasks if task is not winner]
        for task in others:
            task.cancel()
        for given in await asyncio.gather(*others, return_exceptions=True):
            if not isinstance(given, BaseException):
                await too_late(given)


async def _run(way: Callable[[], Awaitable[T]]) -> T:
    return await way()
