"""How long places are kept, and so how soon one becomes free.

Not how many became free of late: those who are told to wait too long leave places empty, fewer become free, and who
comes next would be told to wait longer still.
"""

from __future__ import annotations

import math

FADES = 30.0  # seconds after which what was seen counts a third
SHORTEST, LONGEST = 1.0, 60.0  # seconds that anybody is told to wait


class Drain:
    """`now` in seconds of one clock, which does not go back; amounts in the unit of what is kept."""

    __slots__ = ("_at", "_kept", "_released", "_since")

    def __init__(self, now: float) -> None:
        self._since = self._at = now
        self._kept = 0.0  # amount times seconds
        self._released = 0.0

    @property
    def known(self) -> bool:
        """Whether anything was given back yet."""
        return self._released > 0

    def passed(self, used: float, now: float) -> None:
        """So much was kept since the last time."""
        seconds = now - self._at
        if seconds > 0:
            fading = math.exp(-seconds / FADES)
            self._kept = self._kept * fading + used * FADES * (1.0 - fading)
            self._released *= fading
            self._at = now
            if not used and not self._released:
                self._since = now  # nothing was waited for

    def gave_back(self, amount: float) -> None:
        self._released += amount

    def wait_for(self, amount: float, of: float) -> float:
        """Seconds until `amount` is likely to be given back of what `of` keeps. Where nothing was yet, as long again as
        nothing was."""
        if self.known:
            # When few have ended yet, those that will take longer are not among them; but none was kept since before.
            each = min(self._kept / self._released, max(self._at - self._since, SHORTEST))
            return amount * each / of if of > 0 else SHORTEST
        return max(self._at - self._since, SHORTEST)


def told(wait: float) -> float:
    """Within what anybody is told."""
    return min(max(wait, SHORTEST), LONGEST)
