"""A pull by the agent of this node, followed to its end, also where that agent is started again in its middle.

An agent that updates itself goes on with the pull in its next process (`modeldist.agent.resuming`), where it has the
same id. One that was killed or stopped knows of none; it is asked for it again, and begins with what is on disk.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from modeldist.agent.local_client import AgentAway, AgentForbidden, AgentSilent, LocalAgent
from modeldist.agent.progress import FINAL, PATIENCE_WHEN_AWAY, PullSnapshot
from modeldist.errors import NotFound

_LOOK = 0.25  # seconds between two looks for an agent that is away
_BACK = 5.0  # seconds; an agent that was here for less, with nothing new, has not been back to whoever reads along


class Absences:
    """For how long an agent is waited for. Pure.

    Only the time counts for which it is away. It begins anew only once more has arrived than ever before: a pull that
    brings its agent down each time does not wait for ever."""

    def __init__(self, patience: float) -> None:
        """`patience` in seconds; 0: it is not waited for."""
        self._patience = patience
        self._furthest = 0
        self._spent = 0.0  # seconds away before, since something new arrived
        self._since: float | None = None  # when it is away
        self._back: float | None = None  # since when it is not, where nothing new has arrived since

    def arrived(self, done: int, now: float) -> None:
        """It is here, and so many bytes are."""
        if self._since is not None:
            self._spent += now - self._since
            self._since, self._back = None, now
        if done > self._furthest:
            self._furthest, self._spent, self._back = done, 0.0, None

    def begin(self, now: float) -> bool:
        """It is away. Whether that is news: it was here just now, and not only for a moment."""
        if self._since is not None:
            return False
        self._since = now
        return self._back is None or now - self._back >= _BACK

    def left(self, now: float) -> float:
        """Seconds that it is waited for yet."""
        return self._patience - self._spent - (0.0 if self._since is None else now - self._since)


class Followed:
    """Iterates over the snapshots of a pull until it ends, or its agent is away for too long: `now`, the last one, is
    not final then. Raises AgentSilent where the agent is there and says nothing for as long, AgentForbidden where its
    socket may not be opened for as long, AgentError where somebody else's is in its place or it cannot be understood,
    and what asking for the pull again fails of."""

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
        for, once for each time that it goes away after having been here for more than a moment."""
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
            reason: AgentAway | None = None
            try:
                for now in self._news():
                    self.now = now
                    absences.arrived(now.done, self._clock())
                    yield now
            except AgentAway as error:
                reason = error
            if self.now.state in FINAL:
                return
            at = self._clock()
            news, left = absences.begin(at), absences.left(at)
            if left <= 0:
                if isinstance(reason, AgentSilent | AgentForbidden):  # more than that it is away
                    raise reason
                return
            if news:
                self._away(left)
            self._pause(min(left, _LOOK))

    def _news(self) -> Iterator[PullSnapshot]:
        try:
            yield from self._agent.events(self.now.pull)
        except NotFound:
            self.now = self._agent.start_pull(self.now.reference, offline=self._offline)
            yield from self._agent.events(self.now.pull)
