"""Stacks as text: what is called from where, and no more. Neither values nor places of files are in them."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Coroutine
from types import AsyncGeneratorType, CoroutineType, FrameType, GeneratorType
from typing import Any

DEEPEST = 200  # frames; what lies above is cut off


def of_threads(without: int) -> list[str]:
    """One line for each thread but the one with the identity `without`: its name and its frames, the innermost last,
    with `;` between them, as flame graphs have it."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return [
        ";".join((_clean(names.get(ident, "thread").partition(" ")[0]), *_outwards(frame)))
        for ident, frame in sys._current_frames().items()
        if ident != without
    ]


def of_tasks() -> list[str]:
    """Likewise of the tasks of the loop that runs this, but the one that asks. Those of one kind are one name: a name
    may have a reference in it."""
    asks = asyncio.current_task()
    return [
        ";".join(("asyncio_tasks", *_of_coroutine(task.get_coro()))) for task in asyncio.all_tasks() if task is not asks
    ]


def _outwards(frame: FrameType | None) -> list[str]:
    found: list[str] = []
    while frame is not None and len(found) < DEEPEST:
        found.append(_name(frame))
        frame = frame.f_back
    found.reverse()
    return found


def _of_coroutine(waiting: Any) -> list[str]:
    """From the task's own coroutine to what it awaits."""
    found: list[str] = []
    while waiting is not None and len(found) < DEEPEST:
        frame, waiting = _step(waiting)
        if frame is not None:
            found.append(_name(frame))
    return found or ["ended"]


def _step(waiting: Any) -> tuple[FrameType | None, Any]:
    match waiting:
        case CoroutineType():
            return waiting.cr_frame, waiting.cr_await
        case GeneratorType():
            return waiting.gi_frame, waiting.gi_yieldfrom
        case AsyncGeneratorType():
            return waiting.ag_frame, waiting.ag_await
        case Coroutine():  # of a compiled module
            return None, getattr(waiting, "cr_await", None)
    return None, None


def _name(frame: FrameType) -> str:
    """`modeldist.agent.pull:Pull.run:112`."""
    return _clean(f"{frame.f_globals.get('__name__', '?')}:{frame.f_code.co_qualname}:{frame.f_lineno}")


def _clean(text: str) -> str:
    return text.replace(";", ",").replace("\n", " ").replace(" ", "_")
