"""A pull by the agent of this node, followed to its end, also where that agent is started again in its middle.

An agent that updates itself goes on with the pull in its next process (`modeldist.agent.resuming`), where it has the
same id. One that was killed or stopped knows of none; it is asked for it again, and begins with what is on disk.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from modeldist.agent.local_client import AgentAway, AgentSilent, LocalAgent
from modeldist.agent.progress import FINAL, PATIENCE_WHEN_AWAY, PullSnapshot
from modeldist.errors import NotFound

_LOOK = 0.25  # seconds between two looks for an agent that is away


class Absences:
    """For how long an agent is waited for. Pure.

    The time begins anew only once more has arrived than ever before: a pull that brings its agent down each time does
    not wait for ever."""

    def __init__(self, patience: float) -> None:
        """`patience` in seconds; 0: it is not waited for."""
        self._patience = patience
        self._furthest = 0
        self._until: float | None = None

    def arrived(self, done: int) -> None:
        """So many bytes are here."""
        if done > self._furthest:
            self._furthest, self._until = done, None

    def begin(self, now: float) -> bool:
        """It is away. Whether the time begins now."""
        begins = self._until is None
        if begins:
            self._until = now + self._patience
        return begins

    def left(self, now: float) -> float:
        """Seconds that it is waited for yet, once it is away."""
        return self._patience if self._until is None else self._until - now


class Followed:
    """Iterates over the snapshots of a pull until it ends, or its agent is away for too long: `now`, the last one, is
    not final then. Raises AgentSilent where the agent is there and says nothing for as long, AgentError where somebody
    else's is in its place, and what asking for the pull again fails of."""

    def __init__(
        self,
        agent: LocalAgent,
        now: PullSnapshot,
        *,
        offline: bool = False,
        patience: float = PATIENCE_WHEN_AWAY,
        away: Callable[[float], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """`now`: as the agent told when the pull began. `away` is called with the seconds for which the agent is waited
        for, once for each time that it goes away."""
        self.now = now
        self._agent = agent
        self._offline = offline
        self._patience = patience
        self._away = away
        self._clock = clock
        self._pause = pause

    def __iter__(self) -> Iterator[PullSnapshot]:
        absences = Absences(self._patience)
        while True:
            silent: AgentSilent | None = None
            try:
                for now in self._news():
                    self.now = now
                    absences.arrived(now.done)
                    yield now
            except AgentAway as error:
                silent = error if isinstance(error, AgentSilent) else None
            if self.now.state in FINAL:
                return
            if absences.begin(self._clock()) and self._patience:
                self._away(self._patience)
            left = absences.left(self._clock())
            if left <= 0:
                if silent is not None:
                    raise silent
                return
            self._pause(min(left, _LOOK))

    def _news(self) -> Iterator[PullSnapshot]:
        try:
            yield from self._agent.events(self.now.pull)
        except NotFound:
            self.now = self._agent.start_pull(self.now.reference, offline=self._offline)
            yield from self._agent.events(self.now.pull)
