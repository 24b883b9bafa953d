"""How long to wait before asking an origin again, and when to stop asking."""

from __future__ import annotations

from modeldist.origins.settings import HttpSettings

KNOCKS = 3
"""Times that a question is put to an address where no connection is to be had and none has been."""


def pause_before(attempt: int, after: float | None, settings: HttpSettings, uniform: float) -> float | None:
    """Seconds before retry number `attempt` (from 1); None: give up.

    `after` is what the origin asked for (Retry-After); `uniform` in [0, 1) spreads the callers, never to less than
    what the origin asked for.
    """
    if attempt > settings.retries or (after is not None and after > settings.retry_after_cap):
        return None
    pause = min(settings.backoff_cap, settings.backoff * 2.0 ** (attempt - 1)) * (0.5 + uniform / 2)
    return pause if after is None else after + pause / 4
