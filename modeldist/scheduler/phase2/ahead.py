"""Shards that are read while they come: which of their pieces the origin is asked for next, and how far ahead.

A task that nobody reads asks for all its pieces at once, and whatever it is granted stands before what a reader waits
for. So of models that are read, only what the origin brings within a moment is asked for at a time, in the readers'
order. A shard whose bytes do not come takes no other's place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from modeldist.artifact import Digest
from modeldist.scheduler.phase2.choice import Window
from modeldist.scheduler.phase2.config import Phase2Config
from modeldist.scheduler.phase2.fetch import Fetch
from modeldist.scheduler.phase2.messages import Awaited, Run
from modeldist.scheduler.pieces import PieceSet

_REFILL = 0.75  # of the window; when less is on its way, more is asked for
_STANDS = 2  # times `read_ahead_seconds`, until what was asked for and not granted is asked for anew
_EACH = 2  # pieces for each stream: one that is read and one that follows


class ReadAhead:
    """Shares tasks with `Phase2`."""

    def __init__(self, config: Phase2Config, tasks: Mapping[Digest, Fetch]) -> None:
        self._config = config
        self._tasks = tasks
        self._rate = Window(config)
        self._awaited: tuple[Run, ...] = ()
        self._read: dict[Digest, None] = {}

    def set(self, event: Awaited) -> set[Digest]:
        """A new order. The tasks to which it is another one than before."""
        before = {run.task for run in self._awaited} | self._read.keys()
        self._awaited, self._read = event.runs, dict.fromkeys(event.read)
        return before | {run.task for run in event.runs} | self._read.keys()

    def of(self, task: Digest) -> tuple[tuple[int, int], ...]:
        """Runs of the task's pieces that readers wait for, in order: start and count of each."""
        return tuple((run.start, run.count) for run in self._awaited if run.task == task)

    def reads(self, task: Digest) -> bool:
        """Whether it is asked for little by little."""
        return task in self._read

    def brought(self, size: int, now: float) -> None:
        """`size` bytes came from the origin."""
        if self._read:
            self._rate.received(size, now)

    def next(self, now: float) -> dict[Digest, list[tuple[int, int]]]:
        """Runs of pieces to ask the origin for now, by task, in order. Empty: enough is on its way."""
        reading = [fetch for task in self._read if (fetch := self._tasks.get(task)) and not fetch.complete]
        if not reading:
            return {}
        window = self._window(reading)
        room = window - sum(self._on_its_way(fetch, now) for fetch in reading)
        if room < window * (1 - _REFILL):
            return {}
        asked: dict[Digest, list[tuple[int, int]]] = {}
        taken: dict[Digest, int] = {}
        for fetch, bits in self._order(reading):
            if fetch.asked and now - fetch.asked_at < _STANDS * self._config.read_ahead_seconds:
                continue  # what it asked for stands
            # Of what hangs no more than a window: the rest would hang too.
            left = min(room, window - self._leased(fetch)) if self._hangs(fetch, now) else room
            free = bits & fetch.missing & ~(fetch.leased | fetch.flying | fetch.verifying | fetch.once)
            for start, stop in _runs(free & ~taken.get(fetch.task, 0)):
                size = fetch.layout.piece_size
                if (count := min(stop - start, -(-left // size))) <= 0:
                    break
                asked.setdefault(fetch.task, []).append((start, count))
                taken[fetch.task] = taken.get(fetch.task, 0) | ((1 << count) - 1) << start
                room, left = room - count * size, left - count * size
                if room <= 0:
                    return asked
        return asked

    def _window(self, reading: Iterable[Fetch]) -> int:
        pieces = self._config.origin_streams * _EACH * max(fetch.layout.piece_size for fetch in reading)
        return int(max(self._config.read_ahead, pieces, self._rate.rate * self._config.read_ahead_seconds))

    def _on_its_way(self, fetch: Fetch, now: float) -> int:
        """Leased and not here, or asked for a moment ago. What was asked for longer ago is not to be had there now:
        somebody else reads it. Nor does count what hangs."""
        if self._hangs(fetch, now):
            return 0
        asked = fetch.asked if now - fetch.asked_at < self._config.read_ahead_seconds else 0
        return self._leased(fetch) + asked * fetch.layout.piece_size

    @staticmethod
    def _leased(fetch: Fetch) -> int:
        return (fetch.leased & fetch.missing).bit_count() * fetch.layout.piece_size

    def _hangs(self, fetch: Fetch, now: float) -> bool:
        """Its leases bring nothing."""
        return bool(fetch.leased & fetch.missing) and now - max(fetch.progressed, fetch.asked_at) > self._config.stall

    def _order(self, reading: Iterable[Fetch]) -> Iterator[tuple[Fetch, int]]:
        for run in self._awaited:
            if run.task in self._read and (fetch := self._tasks.get(run.task)) is not None:
                yield fetch, PieceSet.span(run.start, run.count).bits
        for fetch in reading:
            yield fetch, fetch.all


def _runs(bits: int) -> Iterator[tuple[int, int]]:
    """Maximal runs of set bits: first, and one after the last."""
    base = 0
    while bits:
        skip = (bits & -bits).bit_length() - 1
        bits >>= skip
        run = (~bits & bits + 1).bit_length() - 1
        yield base + skip, base + skip + run
        bits >>= run
        base += skip + run
