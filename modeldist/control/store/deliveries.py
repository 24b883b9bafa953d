"""What became of each pull's webhook."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select, update

from modeldist.control.pulls.pull import Pull
from modeldist.control.store.database import Database
from modeldist.control.store.pulls import Pulls
from modeldist.control.store.tables import DeliveryRow, PullRow

WAITING, TAKEN, GIVEN_UP, NONE = "waiting", "delivered", "failed", "none"


@dataclass(frozen=True)
class Delivery:
    """`state`: waiting (for the pull's end, or for the next attempt), delivered, failed, none (the pull has no
    webhook). `due`: the next attempt, in seconds since the epoch."""

    state: str
    attempts: int
    due: float
    error: str


class Deliveries:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._pulls = Pulls(database)

    async def due(self, now: float, limit: int) -> Sequence[tuple[Pull, int]]:
        """Pulls that ended and whose webhook is to be sent now, the longest due first, and how often it was tried."""
        query = (
            select(DeliveryRow.pull, DeliveryRow.attempts)
            .join(PullRow, PullRow.id == DeliveryRow.pull)
            .where(DeliveryRow.state == WAITING, DeliveryRow.due <= now, PullRow.state != "running")
            .order_by(DeliveryRow.due, DeliveryRow.pull)
            .limit(limit)
        )
        async with self._database.transaction() as session:
            rows = (await session.execute(query)).all()
        found = [(await self._pulls.get(pull), attempts) for pull, attempts in rows]
        return [(pull, attempts) for pull, attempts in found if pull is not None]

    async def taken(self, pull: str, attempts: int) -> None:
        await self._set(pull, state=TAKEN, attempts=attempts, error="")

    async def again(self, pull: str, attempts: int, at: float | None, error: str) -> None:
        """It failed; the next attempt is at `at`, or never."""
        if at is None:
            await self._set(pull, state=GIVEN_UP, attempts=attempts, error=error[:4096])
        else:
            await self._set(pull, attempts=attempts, due=at, error=error[:4096])

    async def get(self, pull: str) -> Delivery:
        async with self._database.transaction() as session:
            row = await session.get(DeliveryRow, pull)
            if row is None:
                return Delivery(NONE, 0, 0.0, "")
            return Delivery(row.state, row.attempts, row.due, row.error)

    async def _set(self, pull: str, **values: object) -> None:
        async with self._database.transaction() as session:
            await session.execute(update(DeliveryRow).where(DeliveryRow.pull == pull).values(**values))
