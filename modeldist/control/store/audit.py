"""Records of who did what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields

import msgspec
from sqlalchemy import delete, select

from modeldist.control.audit_trail import AuditRecord, Kind
from modeldist.control.store.database import Database
from modeldist.control.store.tables import AuditRow
from modeldist.control.store.upsert import upsert

_FIELDS = tuple(field.name for field in fields(AuditRecord))


class AuditRecords:
    """An `audit_trail.AuditStore`. Belongs to no term: what a replica that stands by refused is a record, too, and so
    is what one that was deposed a moment ago did."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, records: Sequence[AuditRecord]) -> None:
        """Those that are there already stay."""
        async with self._database.transaction() as session:
            await upsert(session, AuditRow, [asdict(record) for record in records], keep=_FIELDS)

    async def forget(self, before: str, kinds: Sequence[Kind], most: int) -> None:
        """What is older than the id `before`, and of each of `kinds` all but the newest `most`."""
        async with self._database.transaction() as session:
            await session.execute(delete(AuditRow).where(AuditRow.id < before))
            for kind in kinds:
                beyond = select(AuditRow.id).where(AuditRow.kind == kind).order_by(AuditRow.id.desc())
                first = (await session.execute(beyond.offset(most).limit(1))).scalar_one_or_none()
                if first is not None:
                    await session.execute(delete(AuditRow).where(AuditRow.kind == kind, AuditRow.id <= first))

    async def listing(self, since: str, before: str | None, limit: int) -> Sequence[AuditRecord]:
        """Up to `limit`, newest first, with ids from `since`, before `before`."""
        query = select(AuditRow).where(AuditRow.id >= since).order_by(AuditRow.id.desc()).limit(limit)
        if before is not None:
            query = query.where(AuditRow.id < before)
        async with self._database.transaction() as session:
            return [_record(row) for row in (await session.execute(query)).scalars()]

    async def oldest(self, since: str) -> float | None:
        """When the oldest with an id from `since` was made."""
        query = select(AuditRow.at).where(AuditRow.id >= since).order_by(AuditRow.id).limit(1)
        async with self._database.transaction() as session:
            return (await session.execute(query)).scalar_one_or_none()


def _record(row: AuditRow) -> AuditRecord:
    return msgspec.convert({name: getattr(row, name) for name in _FIELDS}, AuditRecord)
