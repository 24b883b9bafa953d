"""How long a thread has waited for something else than a core: for an origin, a disk, a lock.

On a busy machine everything takes long; only this tells whether more threads would help.
"""

from __future__ import annotations

import os
import time


class Asleep:
    """Of the threads that are `begun` and have not `ended`. Loop thread only."""

    def __init__(self) -> None:
        self._threads: dict[int, tuple[float, float]] = {}

    def begun(self, thread: int) -> None:
        """By its native id."""
        self._threads[thread] = (time.monotonic(), _awake(thread))

    def ended(self, thread: int) -> None:
        self._threads.pop(thread, None)

    def since(self) -> float:
        """Seconds that they slept, all together, since this was last asked."""
        slept = 0.0
        for thread, (then, awake_then) in self._threads.items():
            now, awake = time.monotonic(), _awake(thread)
            slept += max(0.0, now - then - (awake - awake_then))
            self._threads[thread] = (now, awake)
        return slept


def _awake(thread: int) -> float:
    """Seconds on a core or waiting for one; 0 where the system does not tell (a sandbox)."""
    try:
        fd = os.open(f"/proc/self/task/{thread}/schedstat", os.O_RDONLY)
    except OSError:
        return 0.0
    try:
        ran, waited, _ = os.read(fd, 100).split()
    except (OSError, ValueError):
        return 0.0
    finally:
        os.close(fd)
    return (int(ran) + int(waited)) / 1e9
