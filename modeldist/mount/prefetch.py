"""What a mount asks for next: what readers wait for, what they will read after that, then what loaders read. Pure.

Three sources, in this order:

1. ranges that a read waits for now, the longest-waiting first;
2. what follows on each run of sequential reads, the latest run first. Its window doubles with every read that had to
   wait, as the kernel's own read-ahead does;
3. the plan: the order in which this artifact was read before, or that in which models are loaded. It goes on from
   where the last read was in it, so a reader who begins in the middle is followed there.

Reads and waits come in as events; `wishes()` is the whole answer, which replaces the one before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, islice

from modeldist.mount.access_order import Range

FIRST_WINDOW = 8 << 20  # bytes
LARGEST_WINDOW = 256 << 20  # bytes
SLACK = 4 << 20  # bytes by which the kernel's requests of one reader come out of order
MOST_RUNS = 8  # of a file; more at once are random reads
MOST_WISHES = 256


class _Run:
    """One reader going through one file: what is before `head` it has asked for."""

    def __init__(self, path: str, head: int) -> None:
        self.path = path
        self.head = head
        self.window = FIRST_WINDOW

    def goes_on(self, path: str, start: int) -> bool:
        return self.path == path and -SLACK <= start - self.head <= SLACK


class Prefetch:
    """`plan`: all of the artifact in the order it will probably be read. `sizes`: its files, in bytes by path."""

    def __init__(self, plan: Iterable[Range], sizes: Mapping[str, int]) -> None:
        self._sizes = sizes
        self._plan = list(plan)
        self._at = 0  # in the plan
        self._runs: list[_Run] = []  # the latest first
        self._waiting: dict[int, Range] = {}
        self._waits = 0

    def read(self, path: str, start: int, stop: int) -> None:
        """Somebody reads what is here."""
        self._follow(path, start, stop)
        self._find(path, start)

    def waits(self, path: str, start: int, stop: int) -> int:
        """Somebody waits for bytes that are not here; `served` with what this returns ends it."""
        run = self._follow(path, start, stop)
        run.window = min(run.window * 2, LARGEST_WINDOW)
        self._find(path, start)
        self._waits += 1
        self._waiting[self._waits] = Range(path, start, stop)
        return self._waits

    def served(self, wait: int) -> None:
        """They came, or nobody waits for them any more."""
        del self._waiting[wait]

    def refine(self, path: str, order: Sequence[Range]) -> None:
        """The order within a file, now that its header is known: for plans that have its body as one range."""
        for at, planned in enumerate(self._plan):
            if planned.path == path and planned.start and planned.start < planned.stop:
                within = [
                    Range(path, max(start, planned.start), min(stop, planned.stop))
                    for _, start, stop in order
                    if max(start, planned.start) < min(stop, planned.stop)
                ]
                self._plan[at : at + 1] = within or [planned]
                if self._at > at:
                    self._at += len(within or [planned]) - 1
                return

    def wishes(self, missing: Callable[[Range], bool] = lambda _: True) -> tuple[Range, ...]:
        """What is to come next, in order, but for ranges of which nothing is `missing`."""
        ahead = (self._ahead(run) for run in self._runs if run.head < self._sizes[run.path])
        plan = chain(islice(self._plan, self._at, None), islice(self._plan, self._at))
        found = dict.fromkeys(filter(missing, chain(self._waiting.values(), ahead, plan)))
        return tuple(islice(found, MOST_WISHES))

    def _ahead(self, run: _Run) -> Range:
        return Range(run.path, run.head, min(run.head + run.window, self._sizes[run.path]))

    def _follow(self, path: str, start: int, stop: int) -> _Run:
        """The run that this read goes on with, or begins."""
        for at, run in enumerate(self._runs):
            if run.goes_on(path, start):
                del self._runs[at]
                run.head = max(run.head, stop)
                break
        else:
            run = _Run(path, stop)
            mine = [at for at, other in enumerate(self._runs) if other.path == path]
            if len(mine) >= MOST_RUNS:
                del self._runs[mine[-1]]
        self._runs.insert(0, run)
        return run

    def _find(self, path: str, start: int) -> None:
        """Where in the plan a read is; the plan goes on from there. Reads follow plans mostly, so look ahead first."""
        for at in chain(range(self._at, len(self._plan)), range(self._at)):
            planned = self._plan[at]
            if planned.path == path and planned.start <= start < planned.stop:
                self._at = at
                return
