"""One ceiling of the control plane: who holds how much of it, who may have more, and when to ask again.

Two rules, in this order. **Shedding**: of the whole, prefetches reach `REACH[PREFETCH]`, pulls somewhat more, and the
last part is for what serves. **Shares**: one holder has at most `SHARE` times what is left free, so that a newcomer
finds some: two thirds for one alone, two fifths for each of two, and so on (dynamic thresholds, as switches divide
their buffers: Choudhury and Hahne, 1998). Who holds nothing is let in as long as the ceiling is not reached.

What was let in is never taken away. What it grows by later is added without a question, and newcomers wait.
"""

from __future__ import annotations

from modeldist.control.admission.drain import LONGEST, Drain, told
from modeldist.errors import Overloaded, ShareUsedUp
from modeldist.scheduler.messages import Priority

REACH = {Priority.SERVING: 1.0, Priority.PULL: 0.85, Priority.PREFETCH: 0.6}
SHARE = 2.0


class Room:
    """Holds `most` of something, in any unit. `what` says of a number of them that it is under way: "pulls run".
    Times in seconds of one clock."""

    def __init__(self, what: str, most: float, now: float = 0.0) -> None:
        self.what = what
        self.most = most
        self._held: dict[str, float] = {}
        self._used = 0.0
        self.refused = 0  # since the start
        self._drain = Drain(now)
        self._promised: dict[Priority, float] = {}  # until when those who were refused are told to wait

    @property
    def full(self) -> float:
        """How much of it is used, of 1."""
        return self._used / self.most

    @property
    def used(self) -> float:
        return self._used

    def held_by(self, holder: str) -> float:
        return self._held.get(holder, 0.0)

    def take(self, amount: float, holder: str, priority: Priority, now: float) -> None:
        """Let `amount` in. Raises Overloaded (no room for this priority), ShareUsedUp (none for this holder), which say
        when to ask again."""
        reach = self.most * REACH[priority]
        self._drain.passed(self._used, now)
        if self._used + amount > reach and self._used:
            self._refuse(amount, reach, priority, now)
        mine = self.held_by(holder)
        if mine and mine + amount > SHARE * (self.most - self._used):
            raise ShareUsedUp(
                f"{self._said(mine)} for this token already, which is its share.",
                remedy="Ask again when some of them have ended.",
                retry_after=told(self._drain.wait_for(amount, mine)),
            )
        self.add(amount, holder, now)

    def add(self, amount: float, holder: str, now: float) -> None:
        """What was let in takes more."""
        self._drain.passed(self._used, now)
        self._held[holder] = self.held_by(holder) + amount
        self._used += amount

    def free(self, amount: float, holder: str, now: float) -> None:
        """It is given back."""
        self._drain.passed(self._used, now)
        self._drain.gave_back(amount)
        left = self.held_by(holder) - amount
        self._used = max(0.0, self._used - amount)
        if left > 0:
            self._held[holder] = left
        else:
            self._held.pop(holder, None)

    def _refuse(self, amount: float, reach: float, priority: Priority, now: float) -> None:
        """Those who are refused one after the other are told later and later times: the first place that is free is not
        for all of them."""
        due = now + self._drain.wait_for(self._used + amount - reach, reach)
        if self._drain.known:
            behind = self._promised.get(priority, now) + self._drain.wait_for(amount, reach)
            due = self._promised[priority] = min(max(due, behind), now + LONGEST)
        kept = "" if priority is Priority.SERVING else f" What is free is kept for more than a {_CALLED[priority]}."
        raise Overloaded(
            f"{self._said(self._used)} already.{kept}",
            remedy="Ask again when some of them have ended.",
            retry_after=told(due - now),
        )

    def _said(self, number: float) -> str:
        return f"{number:.0f} {self.what}"


_CALLED = {Priority.PULL: "pull", Priority.PREFETCH: "prefetch"}
