"""How long to wait before a control plane that has no room is asked again, and when to stop asking. For agents and for
the REST clients alike; no clock and no randomness of its own."""

from __future__ import annotations

from modeldist.errors import ModeldistError, Overloaded

PATIENCE = 60.0  # seconds for which it is asked again, unless told otherwise
FIRST, LONGEST = 0.5, 8.0  # seconds between two tries where it does not say, doubled from the one to the other
SPREAD = 0.25  # of a pause, at most, on top of it: those who were told the same do not come back together


class AskingAgain:
    """One question, which may be put several times. `patience` in seconds from `now` on; 0: it is put once."""

    def __init__(self, patience: float, now: float) -> None:
        self._until = now + patience if patience > 0 else float("-inf")
        self._next = FIRST

    def pause(self, error: ModeldistError, now: float, uniform: float) -> float | None:
        """Seconds before the next try after `error`, never fewer than it asks for, and never none. None: this is the
        answer, since it is another error, or the next try would come too late. `uniform` in [0, 1)."""
        if not isinstance(error, Overloaded):
            return None
        wanted = error.retry_after
        if wanted is None or wanted <= 0:
            wanted, self._next = self._next, min(2 * self._next, LONGEST)
        pause = wanted * (1.0 + SPREAD * uniform)
        return pause if now + pause <= self._until else None
