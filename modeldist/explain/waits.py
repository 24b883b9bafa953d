"""What threads wait for, found out without any work of theirs.

A function that waits for one thing is marked with it, which costs nothing when it is called. Ten times a second
somebody looks in which of them every thread stands: where the time goes, also that of a call which
does not return.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Literal, TypeVar

Wait = Literal[
    "origin",  # bytes, or an answer, of the origin
    "origin_pause",  # until the origin is tried again after it failed
    "parent",  # bytes of a parent; in records with a colon and its id behind it
    "disk",  # this node's: writing, syncing, making room
    "verify",  # digests
    "checks",  # other threads, which verify and write
    "download_limit",
    "upload_limit",
    "sending",  # a child, or the way to it, takes its time
    "reuse",  # what other versions have of it
    "pieces",  # nobody who can be asked has what is missing
    "room",  # the control plane takes no more tasks now
    "control",  # the control plane, which is away
    "resolve",  # what the reference means
    "other",  # another process on this machine
    "work",  # none of these
]

F = TypeVar("F", bound=Callable[..., object])

_MARKED: dict[CodeType, Wait] = {}
_MET: dict[int, str] = {}
_DEEP = 40  # frames looked at; what waits stands near the end


def waits_for(wait: Wait) -> Callable[[F], F]:
    """Whoever stands in this function, or in what it calls, waits for that; in a marked function it calls, for what
    that one is marked with."""

    def mark(function: F) -> F:
        _MARKED[function.__code__] = wait
        return function

    return mark


def standing() -> dict[int, Wait]:
    """Threads, by `threading.get_ident`, that stand in a marked function, and what they wait for."""
    found = {}
    for thread, frame in sys._current_frames().items():
        wait = _innermost(frame)
        if wait is not None:
            found[thread] = wait
    return found


def met(sentence: str) -> None:
    """What makes this thread wait, where that is an error."""
    _MET[threading.get_ident()] = sentence


def met_by(thread: int) -> str:
    """The last of it; empty where there was none."""
    return _MET.get(thread, "")


def _innermost(frame: FrameType | None) -> Wait | None:
    for _ in range(_DEEP):
        if frame is None:
            return None
        if (wait := _MARKED.get(frame.f_code)) is not None:
            return wait
        frame = frame.f_back
    return None
