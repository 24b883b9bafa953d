"""Collects what the control plane should hear of, into one report an interval."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Protocol

from msgspec.structs import replace

from modeldist.agent.shard_fetch import ShardFetch
from modeldist.artifact import Digest
from modeldist.scheduler.messages import Load, Report, TaskReport
from modeldist.scheduler.pieces import PieceSet
from modeldist.uploads import Uploads

LOAD_EVERY = 1.0  # seconds; rates over less are noise


class Meter(Protocol):
    """`modeldist.agent.load.LoadMeter` is one."""

    def measure(self, *, bytes_in_flight: int = 0, queue: int = 0) -> Load: ...


class Unmeasured:
    """A meter where nobody wants to know what else the node does."""

    def measure(self, *, bytes_in_flight: int = 0, queue: int = 0) -> Load:
        return Load(bytes_in_flight=bytes_in_flight, queue=queue)


class Reporter:
    """`interval` (seconds between reports) is the control plane's choice, capped so that a wrong one cannot silence
    a node."""

    def __init__(self, meter: Meter, clock: Callable[[], float]) -> None:
        self._meter = meter
        self._clock = clock
        self._seq = count(1)
        self._interval = 1.0
        self._load_at = -LOAD_EVERY
        self._load = meter.measure()
        self._completed: list[TaskReport] = []

    @property
    def interval(self) -> float:
        return self._interval

    @interval.setter
    def interval(self, seconds: float) -> None:
        self._interval = min(max(seconds, 0.02), 10.0)

    @property
    def load(self) -> Load:
        """As it was measured last."""
        return self._load

    @property
    def coalesce(self) -> float:
        """Least time between two reports, in seconds: news that come sooner wait for more news."""
        return min(0.02, self._interval)

    def completed(self, fetch: ShardFetch) -> None:
        """The shard is in the store; its last report still has to go out."""
        self._completed.append(self._task(fetch, fetch.partial.have(), {}))

    def report(
        self,
        fetches: list[ShardFetch],
        lease_progress: dict[Digest, dict[int, int]],
        *,
        bytes_in_flight: int,
        queue: int,
        asked: bool,
        uploads: Uploads | None = None,
    ) -> Report | None:
        """None where nothing is new; never when somebody `asked` for a report before its time."""
        now = self._clock()
        measured = now - self._load_at >= LOAD_EVERY
        if measured:
            self._load = self._meter.measure(bytes_in_flight=bytes_in_flight, queue=queue)
            if uploads is not None and uploads.limit is not None:
                self._load = replace(self._load, uploads=uploads)
            self._load_at = now
        tasks, self._completed = self._completed, []
        for fetch in fetches:
            progress = lease_progress.get(fetch.shard.digest, {})
            if progress or fetch.have_changed or fetch.verified or fetch.tallies:
                tasks.append(self._task(fetch, fetch.partial.have(), progress))
        if not (tasks or measured or asked):
            return None
        return Report(next(self._seq), self._load, tuple(tasks))

    def _task(self, fetch: ShardFetch, have: PieceSet, progress: dict[int, int]) -> TaskReport:
        report = TaskReport(
            fetch.shard.digest,
            have=have.to_bytes() if fetch.have_changed else None,
            verified=tuple(fetch.verified),
            lease_bytes=progress,
            parents=fetch.parent_reports(self._clock()),
        )
        fetch.have_changed = False
        fetch.verified.clear()
        return report
