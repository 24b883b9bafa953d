"""Room for what a pull brings, below the watermarks: models are evicted for it, or it is refused before any is."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from modeldist.agent.store.collector import Collector, Evicted, Kept, Room
from modeldist.agent.store.live import Live
from modeldist.agent.store.watermarks import Watermarks
from modeldist.artifact import Artifact
from modeldist.errors import NotEnoughSpace

OnEvicted = Callable[[Evicted], object]
_TRIES = 3  # links that people made keep bytes of what was evicted
_NAMED = 3  # models in a refusal


@dataclass(frozen=True)
class Fill:
    """Bytes that are `used` of `capacity`."""

    used: int
    capacity: int


class Rooms:
    """Of one store. Call with `Live.making_room` held."""

    def __init__(self, root: Path, marks: Watermarks, live: Live, collector: Collector) -> None:
        self._root = root
        self._marks = marks
        self._live = live
        self._collector = collector

    def fill(self) -> Fill:
        """As the watermarks count."""
        capacity = disk_fill(self._root)
        return capacity if self._marks.of_disk else Fill(self._collector.store_bytes(), capacity.capacity)

    def make(self, artifact: Artifact, size: int, evicted: OnEvicted) -> None:
        """For `size` more bytes, which nobody has claimed yet. Raises NotEnoughSpace, StorageError."""
        for _ in range(_TRIES):
            fill, claimed = self.fill(), self._live.claimed(self._root)
            need = self._marks.to_free(fill.used, claimed + size, fill.capacity)
            if need is None:
                return
            done = self._collector.evict(need, last=artifact.name)
            for gone in done.evicted:
                evicted(gone)
            if not done.evicted and done.freed < need.least:
                raise self._refusal(artifact, size, fill, claimed, done)
        fill, claimed = self.fill(), self._live.claimed(self._root)
        if self._marks.to_free(fill.used, claimed + size, fill.capacity) is not None:
            raise self._refusal(artifact, size, fill, claimed, Room((), 0))

    def _refusal(self, artifact: Artifact, size: int, fill: Fill, claimed: int, done: Room) -> NotEnoughSpace:
        after = fill.used + claimed + size
        if self._marks.of_disk:
            would = f"the disk of {self._root} would be {after / max(1, fill.capacity):.0%} full"
        else:
            would = f"the store at {self._root} would have {after:,} bytes"
        said = f"{artifact.name} needs {size:,} more bytes: {would}, above the high watermark ({self._marks.high_text})"
        if claimed:
            said += f", {claimed:,} bytes of it reserved by other pulls"
        return NotEnoughSpace(f"{said}. {_why(done)}", remedy=_remedy(done.kept))


def _why(done: Room) -> str:
    most = f"What may go is {done.possible:,} bytes" if done.possible else "No model may go"
    if not done.kept:
        return f"{most}."
    named = "; ".join(f"{_name(kept)} ({kept.bytes:,} bytes) {kept.why}" for kept in done.kept[:_NAMED])
    more = f"; {len(done.kept) - _NAMED} more are" if len(done.kept) > _NAMED else ""
    return f"{most}: {named}{more}."


def _remedy(kept: tuple[Kept, ...]) -> str:
    pinned = next((each for each in kept if each.why == "is pinned"), None)
    unpin = f"Unpin what may go (`modeldist unpin {_name(pinned)}`), end" if pinned else "End"
    return f"{unpin} what uses a model, raise --high-watermark, or move the store to a larger disk."


def _name(kept: Kept) -> str:
    return next(iter(kept.references), kept.artifact.reference)


def disk_fill(place: Path) -> Fill:
    """Of the filesystem, as `df` counts: what only root may use is no part of it."""
    found = os.statvfs(place)
    used = (found.f_blocks - found.f_bfree) * found.f_frsize
    return Fill(used, used + found.f_bavail * found.f_frsize)
