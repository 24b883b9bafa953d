"""Work that a kill -9 of the command does not cut in mid-step: it runs in a child, which then stops in order.

Registries of the distribution project (docker-registry, Harbor) drop a whole upload when one of its chunks is cut off.
The child sees the command end, sends the chunks it has begun, remembers where it is, and goes within `GRACE` seconds.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from types import FrameType

GRACE = 60.0  # seconds; four chunks of 16 MiB in that time need 1 MB/s
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def outlive() -> int:
    """Fork; the caller goes on in the child. Returns a descriptor that ends when the work should stop: the command was
    asked to (^C, SIGTERM) or is gone. Call it before threads and event loops are started."""
    sys.stdout.flush()
    sys.stderr.flush()
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(theirs)
        os.setsid()  # ^C is the command's to hear, and whoever kills its process group does not mean us
        for signum in _SIGNALS:
            signal.signal(signum, signal.SIG_IGN)
        return ours
    os.close(ours)
    _wait(child, theirs)
    raise AssertionError("not reached")


def stop_by(descriptor: int) -> asyncio.Event:
    """An event of the running loop that is set when `descriptor` ends; `GRACE` seconds later the process goes."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def ended() -> None:
        loop.remove_reader(descriptor)
        stop.set()
        loop.call_later(GRACE, os._exit, 130)

    loop.add_reader(descriptor, ended)
    return stop


def _wait(child: int, theirs: int) -> None:
    """As the command: pass on what is asked of it, and end as the child does."""
    asked = False

    def handle(signum: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            os.kill(child, signal.SIGKILL)
        else:
            asked = True
            os.close(theirs)

    for signum in _SIGNALS:
        signal.signal(signum, handle)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)
