"""How much memory this process may have, and how much it has."""

from __future__ import annotations

import ctypes
import logging
import os
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)

OF_A_CONTAINER = 0.75  # of what it may have; its kernel buffers count too
OF_A_MACHINE = 0.5
LOOKED_EVERY = 0.1  # seconds; a look takes some ten microseconds
GIVEN_BACK_EVERY = 10.0  # seconds; takes a few milliseconds per hundred MB
MUCH = 0.6  # of the ceiling, from where on free memory is given back to the system

_GROUPS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_STATM = Path("/proc/self/statm")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def default_ceiling() -> int:
    """Bytes: three quarters of what the container may have, or half of the machine's memory."""
    machine = os.sysconf("SC_PHYS_PAGES") * _PAGE
    for group in _GROUPS:
        with suppress(OSError, ValueError):
            if (most := int(group.read_text())) < machine:
                return int(most * OF_A_CONTAINER)
    return int(machine * OF_A_MACHINE)


def resident() -> int:
    """Bytes that this process has in memory."""
    return int(_STATM.read_text().split()[1]) * _PAGE


class Memory:
    """Of this process. `ceiling` in bytes, `now` in seconds of one clock."""

    def __init__(self, ceiling: int) -> None:
        self.ceiling = ceiling
        self._looked = self._gave_back = float("-inf")
        self._share = 0.0

    def share(self, now: float) -> float:
        """Of the ceiling, in use: 1 is all of it."""
        if now - self._looked >= LOOKED_EVERY:
            self._looked = now
            with suppress(OSError):  # no descriptor is left to look with: what was seen last holds
                self._look(now)
        return self._share

    def _look(self, now: float) -> None:
        self._share = resident() / self.ceiling
        if self._share > MUCH and now - self._gave_back >= GIVEN_BACK_EVERY:
            self._gave_back = now
            _give_back()
            self._share = resident() / self.ceiling


def _give_back() -> None:
    """What was freed here and is kept for later allocations would count as used."""
    with suppress(OSError, AttributeError):  # another C library than glibc
        ctypes.CDLL(None).malloc_trim(0)
