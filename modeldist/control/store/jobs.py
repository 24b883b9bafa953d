"""Numbers of preheat jobs: Harbor decodes a job's id as an integer, which a pull's is not."""

from __future__ import annotations

from dataclasses import dataclass

from modeldist.control.store.database import Database
from modeldist.control.store.tables import PreheatJobRow
from modeldist.errors import NotFound


@dataclass(frozen=True)
class KnownJob:
    """The pull that carries it out, and the manifest's URL as it was asked for."""

    pull: str
    url: str


class Jobs:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, pull: str, url: str) -> int:
        """The new job's number."""
        async with self._database.transaction() as session:
            row = PreheatJobRow(pull=pull, url=url)
            session.add(row)
            await session.flush()
            return row.number

    async def get(self, number: int) -> KnownJob:
        """Raises NotFound."""
        async with self._database.transaction() as session:
            row = await session.get(PreheatJobRow, number)
            if row is None:
                raise NotFound(f"There is no preheat job {number}.", remedy="Ask for the job again.")
            return KnownJob(row.pull, row.url)
