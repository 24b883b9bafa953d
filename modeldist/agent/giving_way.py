"""When small files should wait for large ones.

On few cores, bytes that come fast keep all of them busy until the last one is here; then one core computes the rest of
a digest while the others rest. Work in the interpreter that is done before only takes turns with them.
"""

from __future__ import annotations

from collections.abc import Callable

_LOOKED_AT = 0.05  # seconds that tell how fast bytes come


class GivingWay:
    """`enough`: bytes/s that keep this machine busy; None where nothing does. Pure."""

    def __init__(self, enough: float | None, clock: Callable[[], float]) -> None:
        self._enough = enough
        self._clock = clock
        self._bytes = 0
        self._looked_at = clock()
        self.now = False  # whether to wait

    def look(self, bytes_read: int, *, reading: bool) -> None:
        """`bytes_read` have come so far, and some more are on their way if `reading`."""
        moment = self._clock()
        passed = moment - self._looked_at
        if self._enough is None or not reading:
            self.now = False
        elif passed >= _LOOKED_AT:
            self.now = bytes_read - self._bytes >= self._enough * passed
        else:
            return
        self._bytes, self._looked_at = bytes_read, moment
