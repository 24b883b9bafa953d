"""How often one address may show wrong tokens. A good token is let in whatever others at its address did: behind one
proxy there may be thousands of agents, and who guesses must not be able to keep them out."""

from __future__ import annotations

from collections import OrderedDict

REFILL = 0.5  # a second
_MOST = 10_000  # addresses


class FailedLogins:
    """A bucket for each address. `now` in seconds of one clock."""

    def __init__(self, burst: float) -> None:
        self._burst = burst
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # what is left, and when that was

    def note(self, address: str, now: float) -> float | None:
        """One more failed there. None while it may go on so, else the seconds after which it may again."""
        left, at = self._left.pop(address, (self._burst, now))
        left = min(self._burst, left + (now - at) * REFILL)
        over = left < 1.0
        self._left[address] = left if over else left - 1.0, now
        if len(self._left) > _MOST:
            self._left.popitem(last=False)
        return (1.0 - left) / REFILL if over else None
