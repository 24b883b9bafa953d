"""Bytes of a new shard that are here already in shards of other versions: found by their chunks, copied, proven.

A chunk index says how both are cut and tells equal chunks by their marks. Nothing of that is trusted: a piece that was
put together from old chunks counts when its digest is the one in the chunk table. Of a piece of which some chunks are
missing, those that are here are read again and compared with their marks, and the rest has to be fetched.
"""

from __future__ import annotations

import os
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from modeldist.agent.store.buffers import SIZE, buffer
from modeldist.agent.store.partial import Partial
from modeldist.scheduler.pieces import PieceLayout, PieceSet
from modelpack.chunk_index import MARK_BYTES, Cuts

Ranges = tuple[tuple[int, int], ...]
"""Bytes of a shard, half-open, ascending and apart from each other."""

MOST_HOLES = 32
"""Ranges of one piece that are asked for one by one; where there are more, the least is fetched that joins them."""
LEAST_GAP = 4 * 1024  # bytes; what is here between two holes is not worth a request of its own
_STEP = 64 << 20  # bytes copied in one call

Stopped = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Base:
    """A shard, complete or in part, that may have some of the same content. `cuts` may have to read it, and gives None
    where that is not worth it: it is told which share of the new shard's chunks was not found yet."""

    path: Path
    cuts: Callable[[float], Cuts | None]


@dataclass(frozen=True, slots=True)
class Run:
    """Bytes of a base, from `source` on, that are those of the new shard at [start, stop)."""

    source: int
    start: int
    stop: int


class Search:
    """Which chunks of a new shard are still looked for. `missing` are the pieces that they are looked for."""

    def __init__(self, cuts: Cuts, layout: PieceLayout, missing: PieceSet) -> None:
        self.cuts = cuts
        self.starts = cuts.starts
        self.found = bytearray(len(cuts.lengths))
        self._wanted: dict[int, list[int]] = {}
        self._count = 0
        for start, stop in layout.ranges(missing):
            for number in self.touching(start, stop):
                numbers = self._wanted.setdefault(cuts.marks[number], [])
                if not numbers or numbers[-1] != number:  # it may reach into two runs of pieces
                    numbers.append(number)
                    self._count += 1
        self._left = self._count

    @property
    def left(self) -> float:
        """The share that was not found, from 0 to 1."""
        return self._left / self._count if self._count else 0.0

    def touching(self, start: int, stop: int) -> range:
        """The chunks that have a byte in [start, stop)."""
        return range(bisect_right(self.starts, start) - 1, bisect_left(self.starts, stop))

    def look(self, base: Cuts) -> list[Run]:
        """What a base has of them, in the order of the new shard; they are found, then."""
        places: dict[int, int] = {}
        at = 0
        for length, mark in zip(base.lengths, base.marks, strict=True):
            if mark in self._wanted:
                self._take(mark, length, at, places)
            at += length
        return list(self._runs(places))

    def _take(self, mark: int, length: int, at: int, places: dict[int, int]) -> None:
        numbers = self._wanted[mark]
        if self.cuts.lengths[numbers[0]] != length:  # another chunk with the same mark
            return
        for number in self._wanted.pop(mark):
            places[number] = at
            self.found[number] = 1
            self._left -= 1

    def _runs(self, places: Mapping[int, int]) -> Iterator[Run]:
        run: Run | None = None
        for number in sorted(places):
            source, start, stop = places[number], self.starts[number], self.starts[number + 1]
            if run is not None and run.stop == start and run.source + run.stop - run.start == source:
                run = Run(run.source, run.start, stop)
                continue
            if run is not None:
                yield run
            run = Run(source, start, stop)
        if run is not None:
            yield run


def reuse(
    partial: Partial,
    wanted: PieceSet,
    trusted: Mapping[int, bytes],
    cuts: Cuts,
    bases: Iterable[Base],
    stopped: Stopped,
) -> dict[int, Ranges]:
    """Fill what is missing of `wanted` from `bases`, and add the pieces that are whole and right by `trusted`. Of the
    pieces that are here in part: the ranges that have to be fetched. Blocks. Nobody else may write to the partial file.

    Raises OSError, StorageError of that file; a base that cannot be read is done without."""
    layout = partial.layout
    missing = wanted - partial.have()
    search = Search(cuts, layout, missing)
    room = layout.ranges(missing)
    for base in bases:
        if stopped() or not search.left:
            break
        try:
            source = os.open(base.path, os.O_RDONLY)
        except OSError:  # removed meanwhile, or on a bad disk
            continue
        try:
            if (found := _cuts(base, search.left)) is None:
                continue
            for run in _within(search.look(found), room):
                if stopped():
                    return {}
                _copy(source, partial.fd, run)
        finally:
            os.close(source)
    return _prove(partial, missing, trusted, search, stopped)


def _cuts(base: Base, left: float) -> Cuts | None:
    """None also where it cannot be read: the bytes are fetched, then."""
    try:
        return base.cuts(left)
    except OSError:
        return None


def _within(runs: Sequence[Run], room: Ranges) -> Iterator[Run]:
    """The parts of `runs` that lie in `room`: verified pieces are never written to again."""
    at = 0
    for run in runs:
        while at < len(room) and room[at][1] <= run.start:
            at += 1
        index = at
        while index < len(room) and room[index][0] < run.stop:
            first, last = max(run.start, room[index][0]), min(run.stop, room[index][1])
            yield Run(run.source + first - run.start, first, last)
            index += 1


def _copy(source: int, target: int, run: Run) -> None:
    """In the kernel where it can; a base that is cut off or cannot be read leaves a hole, which its piece's digest
    finds. Raises OSError of the target."""
    at, start = run.source, run.start
    while start < run.stop:
        try:
            done = os.copy_file_range(source, target, min(_STEP, run.stop - start), at, start)
        except OSError:  # through memory it shows of which file it is
            done = _copy_through(source, target, min(SIZE, run.stop - start), at, start)
        if not done:
            return
        at, start = at + done, start + done


def _copy_through(source: int, target: int, count: int, at: int, start: int) -> int:
    with buffer() as view:
        try:
            got = os.preadv(source, [view[:count]], at)
        except OSError:
            return 0
        written = 0
        while written < got:
            written += os.pwrite(target, view[written:got], start + written)
        return got


def _prove(
    partial: Partial, missing: PieceSet, trusted: Mapping[int, bytes], search: Search, stopped: Stopped
) -> dict[int, Ranges]:
    layout = partial.layout
    holes: dict[int, Ranges] = {}
    for piece in missing:
        if stopped():
            return {}
        start = layout.offset(piece)
        stop = start + layout.length(piece)
        chunks = search.touching(start, stop)
        found = sum(search.found[chunks.start : chunks.stop])
        if found == len(chunks):
            digest = partial.hash_piece(piece)
            if trusted.get(piece) == digest:
                partial.add(piece, digest, awaited=False)
        elif found and (lacking := _lacking(partial, search, chunks, start, stop)) != ((start, stop),):
            holes[piece] = lacking
    return holes


def _lacking(partial: Partial, search: Search, chunks: range, start: int, stop: int) -> Ranges:
    """What of a piece's bytes [start, stop) no chunk that is here and right has."""
    found: list[tuple[int, int]] = []
    for number in chunks:
        first, last = search.starts[number], search.starts[number + 1]
        # Read from the file: it may reach into a piece that is not wanted, and a base may be damaged.
        if search.found[number] and _mark(partial.fd, first, last) == search.cuts.marks[number]:
            continue
        found.append((max(first, start), min(last, stop)))
    return joined_holes(found)


def joined_holes(holes: Sequence[tuple[int, int]], most: int = MOST_HOLES, gap: int = LEAST_GAP) -> Ranges:
    """Ascending ranges with those joined that are less than `gap` bytes apart, and then the nearest until `most` are
    left."""
    gaps = sorted(later[0] - earlier[1] for earlier, later in pairwise(holes))
    if len(holes) > most:
        gap = max(gap, gaps[len(holes) - most - 1] + 1)
    whole: list[tuple[int, int]] = []
    for start, stop in holes:
        if whole and start - whole[-1][1] < gap:
            whole[-1] = (whole[-1][0], stop)
        else:
            whole.append((start, stop))
    return tuple(whole)


def _mark(fd: int, start: int, stop: int) -> int:
    from blake3 import blake3

    hasher = blake3(max_threads=1)
    with buffer() as view:
        while start < stop and (got := os.preadv(fd, [view[: min(SIZE, stop - start)]], start)):
            hasher.update(view[:got])
            start += got
    return int.from_bytes(hasher.digest()[:MARK_BYTES], "little")
