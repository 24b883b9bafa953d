"""The newest records of who did what, in memory: what `GET /audit` answers. The log has all of them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from heapq import merge
from itertools import islice

from modeldist.control.views import AuditRecordView

MOST = 1000  # records of a kind, of half a kilobyte each but for long references

SESSION = 101  # the status of a WebSocket that was opened
REFUSED = frozenset({401, 403})


class AuditTrail:
    """Of each kind the newest: five thousand agents that connect again, or somebody who guesses tokens, do not push out
    what people did."""

    def __init__(self, most: int = MOST, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self.since = now()
        self._number = 0
        self._deeds, self._sessions, self._refused = (deque[AuditRecordView](maxlen=most) for _ in range(3))

    def keep(
        self,
        *,
        asked: str,
        outcome: int,
        client: str,
        token: str = "",
        role: str = "",
        action: str = "",
        acted_on: str = "",
    ) -> None:
        """`outcome`: an HTTP status. Without a `token`: somebody who showed no good one."""
        self._number += 1
        kind = self._refused if outcome in REFUSED else self._sessions if outcome == SESSION else self._deeds
        kind.append(AuditRecordView(self._number, self._now(), token, role, action, asked, acted_on, outcome, client))

    def before(self, number: int | None, limit: int) -> list[AuditRecordView]:
        """Up to `limit`, the newest first, older than record `number`."""
        kinds = (reversed(kind) for kind in (self._deeds, self._sessions, self._refused))
        newest = merge(*kinds, key=lambda record: -record.number)
        return list(islice((record for record in newest if number is None or record.number < number), limit))
