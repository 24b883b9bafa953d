"""Where the time of one pull went: seconds by what was waited for, and bytes by source. Pure; time is passed in."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from heapq import nlargest

from modeldist.explain.record import Around, Where

LATELY = 10.0  # seconds that the present is judged by
_BUCKET = 1.0  # seconds
_TOLD = 12  # largest entries of each kind that travel


def _nothing() -> defaultdict[str, float]:
    return defaultdict(float)


@dataclass(slots=True)
class _Bucket:
    began: float
    waits: defaultdict[str, float] = field(default_factory=_nothing)
    bytes: defaultdict[str, float] = field(default_factory=_nothing)


class Account:
    """`began` and `now` are seconds of one clock that does not go back. `origin` and `trouble` as in `Where`."""

    def __init__(self, began: float) -> None:
        self._last = self._byte_at = self._top_at = began
        self._waits = _nothing()
        self._buckets: deque[_Bucket] = deque([_Bucket(began)])
        self._top = ""
        self.origin = ""
        self.trouble = ""

    def looked(self, seen: Mapping[str, int], came: Mapping[str, int], now: float) -> None:
        """What was waited for since the last look, and by how many; `came`: bytes by source."""
        passed, self._last = max(0.0, now - self._last), now
        if now - self._buckets[-1].began >= _BUCKET:
            self._next_bucket(now)
        bucket = self._buckets[-1]
        many = sum(seen.values())
        for wait, count in seen.items():
            bucket.waits[wait] += passed * count / many
            self._waits[wait] += passed * count / many
        for source, count in came.items():
            if count > 0:
                bucket.bytes[source] += count
                self._byte_at = now

    def _next_bucket(self, now: float) -> None:
        bucket = self._buckets[-1]
        if bucket.waits:
            waits = grouped(bucket.waits)
            top = max(waits, key=lambda wait: waits[wait])
            if top != self._top:
                self._top, self._top_at = top, bucket.began
        self._buckets.append(_Bucket(now))
        while len(self._buckets) > 2 and self._buckets[1].began <= now - LATELY:
            self._buckets.popleft()

    def where(self, around: Around) -> Where:
        """As it was when it was looked at last."""
        lately, came = _nothing(), _nothing()
        for bucket in self._buckets:
            _add(lately, bucket.waits)
            _add(came, bucket.bytes)
        window = max(0.0, self._last - self._buckets[0].began)
        return Where(
            waits=_largest(self._waits),
            lately=_largest(lately),
            window=round(window, 3),
            rates={source: round(count / window, 1) for source, count in _largest(came).items()} if window else {},
            since=round(self._last - self._top_at, 3),
            still=round(self._last - self._byte_at, 3),
            origin=self.origin,
            trouble=self.trouble,
            around=around,
        )


def _add(into: defaultdict[str, float], more: Mapping[str, float]) -> None:
    for key, value in more.items():
        into[key] += value


def _largest(values: Mapping[str, float]) -> dict[str, float]:
    return {key: round(values[key], 3) for key in nlargest(_TOLD, values, key=lambda key: values[key])}


def grouped(waits: Mapping[str, float]) -> dict[str, float]:
    """With all parents as one."""
    found = _nothing()
    for wait, seconds in waits.items():
        found[wait.partition(":")[0]] += seconds
    return dict(found)
