"""Who did what: records on their way into the database, and back for `GET /audit`. The log has all of them.

Requests only put a record into a queue, which is written within a second, whoever leads, and at a regular stop. While
the database is away the queue keeps the newest.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal, Protocol, get_args

from modeldist.control.write_behind import DELAY, WriteBehind

Kind = Literal["deed", "session", "refused"]
"""Five thousand agents that connect again, or somebody who guesses tokens, push out nothing of what people did."""
KINDS: tuple[Kind, ...] = get_args(Kind)

MOST_WAITING = 10_000  # records of a kind that are not written yet, of half a kilobyte each but for long references
AT_ONCE = 500  # records in one transaction: others that write need not wait for long
FORGOTTEN_EVERY = 3600.0  # seconds
SLACK = 100  # one of so many records that are kept: by so many more than the bound there may be

SESSION = 101  # the status of a WebSocket that was opened
REFUSED = frozenset({401, 403})


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """`id` sorts by time, and is nobody else's; `at` is the cluster's time, in seconds since the epoch. The rest as in
    `control.views.audit.AuditRecordView`."""

    id: str
    at: float
    kind: Kind
    token: str
    role: str
    action: str
    asked: str
    object: str
    outcome: int
    client: str


class AuditStore(Protocol):
    """What is needed of `store.audit.AuditRecords`."""

    async def add(self, records: Sequence[AuditRecord]) -> None: ...
    async def forget(self, before: str, kinds: Sequence[Kind], most: int) -> None: ...
    async def listing(self, since: str, before: str | None, limit: int) -> Sequence[AuditRecord]: ...
    async def oldest(self, since: str) -> float | None: ...


class AuditTrail:
    """One per process. `time`: the cluster's; until this process led, what it would lead with. `most`: records of each
    kind that are kept, up to a hundredth more; `age`: seconds for which."""

    def __init__(
        self, store: AuditStore, time: Callable[[], float], *, most: int, age: float, delay: float = DELAY
    ) -> None:
        self.time = time
        self.most = most
        self.age = age
        self._store = store
        self._process = secrets.token_hex(4)
        self._last = 0  # microseconds
        self._waiting: dict[Kind, deque[AuditRecord]] = {kind: deque(maxlen=MOST_WAITING) for kind in KINDS}
        self._written = dict.fromkeys(KINDS, 0)  # since some were forgotten
        self._one = asyncio.Lock()
        self._writer = WriteBehind(self._write, delay)
        self._forget_at = 0.0  # of this loop's time
        self._hourly = asyncio.create_task(self._mark_hourly(), name="old audit records")

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
        at = self.time()
        self._last = max(self._last + 1, int(at * 1e6))
        kind: Kind = "refused" if outcome in REFUSED else "session" if outcome == SESSION else "deed"
        self._waiting[kind].append(
            AuditRecord(
                id=record_id(self._last, self._process),
                at=at,
                kind=kind,
                token=storable(token),
                role=role,
                action=action,
                asked=storable(asked),
                object=storable(acted_on),
                outcome=outcome,
                client=client,
            )
        )
        self._writer.mark()

    async def page(self, before: str | None, limit: int) -> Sequence[AuditRecord]:
        """Up to `limit`, the newest first, older than the record `before`: also what came a moment ago."""
        await self._write()
        return await self._store.listing(self._since(), before, limit)

    async def oldest(self) -> float:
        """When the oldest that is kept was made; now, where there is none."""
        found = await self._store.oldest(self._since())
        return self.time() if found is None else found

    async def close(self) -> None:
        """Write what waits. Nobody may act any more."""
        self._hourly.cancel()
        await asyncio.gather(self._hourly, return_exceptions=True)
        await self._writer.close()

    async def _write(self) -> None:
        async with self._one:
            for kind, waiting in self._waiting.items():
                while waiting:
                    batch = list(islice(waiting, AT_ONCE))
                    await self._store.add(batch)  # harmless the second time, where this is cancelled or fails
                    self._written[kind] += len(batch)
                    while waiting and waiting[0].id <= batch[-1].id:
                        waiting.popleft()
            await self._forget()

    async def _forget(self) -> None:
        """What is too old, and of each kind what is too much. Not each time: the database has to count for it."""
        now = asyncio.get_running_loop().time()
        full = [kind for kind in KINDS if self._written[kind] * SLACK >= max(self.most, SLACK)]
        if not full and now < self._forget_at:
            return
        await self._store.forget(self._since(), full or KINDS, self.most)
        self._written.update(dict.fromkeys(full or KINDS, 0))
        self._forget_at = now + FORGOTTEN_EVERY

    async def _mark_hourly(self) -> None:
        while True:
            await asyncio.sleep(FORGOTTEN_EVERY)
            self._writer.mark()

    def _since(self) -> str:
        return record_id(int((self.time() - self.age) * 1e6))


def record_id(microseconds: int, process: str = "") -> str:
    """Of a record made at that moment since the epoch by a process that calls itself this."""
    return f"{max(0, microseconds):014x}{process}"


def storable(text: str) -> str:
    """What both databases take: one record that cannot be written would hold up all that follow."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
