"""Rollouts, each one document."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import select

from modeldist.control.rollouts.rollout import ENDED, Rollout
from modeldist.control.store.database import Database
from modeldist.control.store.tables import RolloutRow
from modeldist.control.store.upsert import upsert


class Rollouts:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def write(self, rollout: Rollout) -> None:
        row = {"id": rollout.id, "state": rollout.state, "document": msgspec.json.encode(rollout)}
        async with self._database.transaction() as session:
            await upsert(session, RolloutRow, [row])

    async def get(self, rollout_id: str) -> Rollout | None:
        async with self._database.transaction() as session:
            row = await session.get(RolloutRow, rollout_id)
        return _rollout(row) if row is not None else None

    async def running(self) -> Rollout | None:
        """The newest that has not ended."""
        query = select(RolloutRow).where(RolloutRow.state.not_in(ENDED)).order_by(RolloutRow.id.desc()).limit(1)
        async with self._database.transaction() as session:
            row = (await session.execute(query)).scalar_one_or_none()
        return _rollout(row) if row is not None else None

    async def listing(self, before: str | None, limit: int) -> Sequence[Rollout]:
        """Up to `limit`, newest first, older than `before`."""
        query = select(RolloutRow).order_by(RolloutRow.id.desc()).limit(limit)
        if before is not None:
            query = query.where(RolloutRow.id < before)
        async with self._database.transaction() as session:
            return [_rollout(row) for row in (await session.execute(query)).scalars()]


def _rollout(row: RolloutRow) -> Rollout:
    return msgspec.json.decode(row.document, type=Rollout)
