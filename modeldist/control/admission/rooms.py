"""All ceilings of one control plane: what each bounds, what one of it costs, and how full the memory is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields

from modeldist.control.admission.drain import LONGEST, SHORTEST
from modeldist.control.admission.room import REACH, Room
from modeldist.errors import Overloaded
from modeldist.scheduler.messages import Priority

NOBODY = ""  # holds what was here before the control plane started


@dataclass(frozen=True, slots=True)
class Ceilings:
    """How many of each at once; `held` in bytes. docs/reliability.md says what counts as how many."""

    requests: float = math.inf  # over HTTP, answers that are streams left out
    questions: float = math.inf  # references that agents wait for
    resolves: float = math.inf  # different references that origins are asked for
    pulls: float = math.inf
    streams: float = math.inf  # of events
    sessions: float = math.inf
    held: float = math.inf  # what pulls, shard tasks and answers that wait for their readers take, estimated


class Rooms:
    """`clock` in seconds; `memory` tells the share of this process's ceiling that is in use, at that time."""

    def __init__(
        self,
        ceilings: Ceilings | None = None,
        clock: Callable[[], float] = lambda: 0.0,
        memory: Callable[[float], float] = lambda now: 0.0,
    ) -> None:
        most, now = ceilings or Ceilings(), clock()
        self._clock = clock
        self._memory = memory
        self._short_since: float | None = None
        self.requests = Room("requests are answered", most.requests, now)
        self.questions = Room("references are waited for", most.questions, now)
        self.resolves = Room("references are resolved", most.resolves, now)
        self.pulls = Room("pulls run", most.pulls, now)
        self.streams = Room("clients follow pulls", most.streams, now)
        self.sessions = Room("agents are connected", most.sessions, now)
        self.held = Room("bytes are held", most.held, now)

    def all(self) -> dict[str, Room]:
        """By their names in `Ceilings`."""
        return {field.name: getattr(self, field.name) for field in fields(Ceilings)}

    def take(self, room: Room, holder: str, priority: Priority, amount: float = 1.0) -> None:
        """Let something in. Raises Overloaded, ShareUsedUp."""
        try:
            if room is not self.requests:  # somebody has to be able to look, and to stop what runs
                self._check_memory(room, priority)
            room.take(amount, holder, priority, self._clock())
        except Overloaded:
            room.refused += 1
            raise

    def add(self, room: Room, holder: str, amount: float = 1.0) -> None:
        """What was let in grows, or was there before."""
        room.add(amount, holder, self._clock())

    def free(self, room: Room, holder: str, amount: float = 1.0) -> None:
        room.free(amount, holder, self._clock())

    @contextmanager
    def place(self, room: Room, holder: str, priority: Priority) -> Iterator[None]:
        """One place of a room, for as long as the block takes. Raises as `take`."""
        self.take(room, holder, priority)
        try:
            yield
        finally:
            self.free(room, holder)

    def _check_memory(self, room: Room, priority: Priority) -> None:
        """One of a kind is always let in: what is not given back to the system must not keep everybody out for ever."""
        now = self._clock()
        share = self._memory(now)
        if share <= REACH[priority]:
            if share <= min(REACH.values()):
                self._short_since = None
            return
        if self._short_since is None:
            self._short_since = now
        if room.used:
            raise Overloaded(
                f"The control plane uses {share:.0%} of the memory that it may have.",
                remedy="Ask again later, or give it more memory (MODELDIST_SERVER_MEMORY).",
                retry_after=min(max(now - self._short_since, SHORTEST), LONGEST),
            )
