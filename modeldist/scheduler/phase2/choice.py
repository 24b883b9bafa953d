"""How much may be in flight, whose turn it is among the priority classes, what an unknown parent may be good for."""

from __future__ import annotations

from collections.abc import Iterable

from modeldist.scheduler.phase2.config import Phase2Config
from modeldist.scheduler.phase2.parent import ParentLink

_UNMEASURED = 10e6  # bytes/s; only ranks parents before the first has answered
_METER_SECONDS = 0.25
_METER_DECAY = 0.2
_BURST = 0.25  # seconds' worth of the download limit that may be asked for at once; ticks come every 0.1


class Window:
    """How many bytes may be in flight over all parents: what arrives in `config.window` seconds at the best rate seen
    lately. Large enough to keep the link full, small enough that a piece is not spoken for long before it moves."""

    def __init__(self, config: Phase2Config) -> None:
        self._config = config
        self._since = 0.0
        self._bytes = 0
        self.rate = 0.0
        self.in_flight = 0
        self._paid_at = float("-inf")  # when what was asked for and read would have come, at the download limit

    def received(self, size: int, now: float) -> None:
        self._bytes += size
        span = now - self._since
        if span < _METER_SECONDS:
            return
        if span < 4 * _METER_SECONDS:
            rate = self._bytes / span
            self.rate = max(rate, self.rate + _METER_DECAY * (rate - self.rate))
        self._since, self._bytes = now, 0

    def pay(self, size: int, now: float) -> None:
        """`size` bytes were asked of a peer, or read from the origin."""
        if self._config.download_rate is not None:
            self._paid_at = max(self._paid_at, now - _BURST) + size / self._config.download_rate

    def within_limit(self, now: float) -> bool:
        """Whether the download limit lets this node ask for more now."""
        return self._paid_at <= now

    def has_room(self, size: int) -> bool:
        limit = max(self.rate * self._config.window, self._config.min_pieces_in_flight * size)
        return self.in_flight + size <= max(min(limit, self._config.max_in_flight), size)


class Shares:
    """Stride scheduling between the priority classes that have something to do: none starves, and a class that was
    idle does not make up for it."""

    def __init__(self, weights: tuple[int, int, int]) -> None:
        self._weights = weights
        self._passed = [0.0, 0.0, 0.0]
        self._clock = 0.0

    def pick(self, classes: Iterable[int]) -> int:
        return min(classes, key=lambda cls: (max(self._passed[cls], self._clock), cls))

    def used(self, cls: int, size: int) -> None:
        start = max(self._passed[cls], self._clock)
        self._clock = start
        self._passed[cls] = start + size / self._weights[cls]


def guess_goodput(links: Iterable[ParentLink]) -> float:
    """What to reckon with for a parent that was not measured yet: the best of the others, so that it is tried."""
    return max([link.goodput for link in links if link.goodput], default=_UNMEASURED)


def usual_goodput(links: Iterable[ParentLink]) -> float:
    """Beside which a parent is slow: the median of those measured, 0 where none is. Not the best: where measuring is
    noisy, as on a busy machine, most are far below that."""
    measured = sorted([link.goodput for link in links if link.goodput])
    return measured[len(measured) // 2] if measured else 0.0
