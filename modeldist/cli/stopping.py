"""^C and SIGTERM while a pull runs: the first stops it in order, the second leaves at once.

Leaving at once is safe: whatever a pull has on disk at any moment can be resumed from.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from modeldist.cli.terminal import say
from modeldist.errors import Cancelled

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def _interrupt() -> None:
    raise KeyboardInterrupt


class Stopping:
    """What the signals do. `on_stop` may be replaced while something runs that can stop in better order than by
    KeyboardInterrupt; `before_leaving` gives the terminal back."""

    def __init__(self) -> None:
        self.on_stop: Callable[[], None] = _interrupt
        self.before_leaving: Callable[[], None] = lambda: None
        self._asked = False

    def handle(self, signum: int, frame: FrameType | None) -> None:
        if self._asked:
            try:
                self.before_leaving()
                say("modeldist: Stopped at once; pull again to resume.")
            finally:
                os._exit(Cancelled.exit_code)
        self._asked = True
        self.on_stop()

    @contextmanager
    def by(self, on_stop: Callable[[], None]) -> Iterator[None]:
        """Stop by calling `on_stop` inside the block."""
        self.on_stop = on_stop
        try:
            yield
        finally:
            self.on_stop = _interrupt


@contextmanager
def stopping() -> Iterator[Stopping]:
    """Handle the signals inside the block."""
    handling = Stopping()
    before = {signum: signal.signal(signum, handling.handle) for signum in _SIGNALS}
    try:
        yield handling
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
