"""Pictures one after the other, on the whole terminal until q is pressed, or as plain text.

A look that fails is told in the place of one, since what restarts is there again soon.
"""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.text import Text

from modeldist.cli.terminal import clean, put
from modeldist.cli.top.picture import Picture, lines
from modeldist.errors import ModeldistError

Look = Callable[[], Picture]


class Seen:
    """The lines of each picture; after a look that failed why, above what was seen last."""

    def __init__(self, look: Look, now: Callable[[], float] = time.time) -> None:
        self._look = look
        self._now = now
        self._last: list[str] = []
        self._at = 0.0

    def again(self) -> list[str]:
        try:
            self._last, self._at = lines(self._look()), self._now()
        except ModeldistError as error:
            told = f"The look at {_clock(self._now())} failed: {error}"
            before = ["", f"At {_clock(self._at)}:", *self._last] if self._last else []
            return [*clean(told).splitlines(), *before]
        return self._last


def _clock(seconds: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(seconds))


def live(look: Look, interval: float) -> None:
    """Until q, Q or ^C."""
    console, seen = Console(), Seen(look)
    with _keys(), Live(console=console, auto_refresh=False, screen=True) as view:
        while True:
            view.update(_fitting(seen.again(), console.height, console.width), refresh=True)
            if _quit_within(interval):
                return


def plain(look: Look, interval: float) -> None:
    """For ever: whoever reads it stops it."""
    seen = Seen(look)
    while True:
        put("\n".join([*seen.again(), ""]))
        time.sleep(interval)


def _fitting(text: list[str], height: int, width: int) -> Text:
    shown = text if len(text) < height else [*text[: height - 2], f"… and {len(text) - height + 2} more lines"]
    return Text("\n".join(line[:width] for line in shown), no_wrap=True, overflow="crop")


@contextmanager
def _keys() -> Iterator[None]:
    """One by one and unseen, where stdin is a terminal."""
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _quit_within(seconds: float) -> bool:
    if not sys.stdin.isatty():
        time.sleep(seconds)
        return False
    fd, until = sys.stdin.fileno(), time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if select.select([fd], [], [], left)[0]:
            pressed = os.read(fd, 1024)  # not sys.stdin, which keeps what came with it: an arrow is three bytes
            if not pressed or b"q" in pressed.lower():
                return True
    return False
