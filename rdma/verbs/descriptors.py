"""The descriptor behind an event queue. pyverbs up to 58 keeps it to itself, and waits for events with the interpreter
locked; who knows the descriptor can wait without."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
_EVENTS = "anon_inode:[infinibandevent]"  # how the kernel's uverbs_std_types.c names them
_making = threading.Lock()


def with_event_descriptor(make: Callable[[], T]) -> tuple[T, int]:
    """Call `make`, which opens one event queue: what it returns, and the queue's descriptor."""
    with _making:
        before = _event_descriptors()
        made: Any = make()
        descriptor = getattr(made, "fd", None)  # completion channels from 59 on
        if descriptor is None:
            (descriptor,) = _event_descriptors() - before
        return made, descriptor


def _event_descriptors() -> set[int]:
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the listing's own
            if str(entry.readlink()) == _EVENTS:
                found.add(int(entry.name))
    return found
