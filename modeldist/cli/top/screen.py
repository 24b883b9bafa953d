"""Pictures one after the other, on the whole terminal until q is pressed, or as plain text."""

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

from modeldist.cli.terminal import put
from modeldist.cli.top.picture import Picture, lines

Look = Callable[[], Picture]


def live(look: Look, interval: float) -> None:
    """Until q, Q or ^C."""
    console = Console()
    with _keys(), Live(console=console, auto_refresh=False, screen=True) as view:
        while True:
            view.update(_fitting(lines(look()), console.height, console.width), refresh=True)
            if _quit_within(interval):
                return


def plain(look: Look, interval: float) -> None:
    """For ever: whoever reads it stops it."""
    while True:
        put("\n".join([*lines(look()), ""]))
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
