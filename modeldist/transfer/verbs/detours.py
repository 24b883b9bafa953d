"""What came over lanes, and why the rest did not."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Literal, get_args

_MOST = 100  # reasons told apart

NO_DEVICE = "The parent has no RDMA device that works."
NO_MEMORY = "The parent had no registered memory free."
NO_ANSWER = "The parent did not say within {seconds:g} s whether it opens lanes."

Kind = Literal["no_device", "no_memory", "no_answer", "failed"]
KINDS: tuple[Kind, ...] = get_args(Kind)


def kind_of(reason: str) -> Kind:
    """What a reason comes to. Their words, of which a parent may have written some, have no bounds."""
    if reason == NO_DEVICE:
        return "no_device"
    if reason == NO_MEMORY:
        return "no_memory"
    return "no_answer" if reason.startswith(NO_ANSWER.partition("{")[0]) else "failed"


class Detours:
    """Of a node. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reasons: Counter[str] = Counter()
        self._bytes = 0

    def landed(self, count: int) -> None:
        """`count` bytes came over a lane."""
        with self._lock:
            self._bytes += count

    def add(self, reason: str) -> None:
        """A piece that was asked for over a lane came over TCP instead."""
        with self._lock:
            if reason not in self._reasons and len(self._reasons) >= _MOST:
                reason = "other reasons"
            self._reasons[reason] += 1

    @property
    def bytes(self) -> int:
        """That came over lanes."""
        return self._bytes

    @property
    def reasons(self) -> dict[str, int]:
        """Pieces that took the other way, by reason."""
        with self._lock:
            return dict(self._reasons)
