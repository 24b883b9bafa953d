"""How many small frames a child takes from one parent. A proper parent tells of a shard fifty times a second at most
(`herald.py`), and answers what it was asked; one that goes on and on would fill its child's memory with news."""

from __future__ import annotations

EACH = 100.0  # frames a second, of each shard that the child subscribed to
SAVED = 10.0  # seconds' worth that may come at once: what waited while the child was held up
GROUND = 2000.0  # frames, beside that: answers, goodbyes


class NewsLimit:
    """A bucket. `now` in seconds of one clock."""

    def __init__(self, now: float) -> None:
        self._left = GROUND
        self._at = now

    def takes(self, shards: int, now: float) -> bool:
        """Whether another frame is in order."""
        rate = EACH * (shards + 1)
        self._left = min(GROUND + SAVED * rate, self._left + (now - self._at) * rate)
        self._at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
