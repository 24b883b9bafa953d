"""Pulls and their nodes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from modeldist.control.pulls.pull import Pull, PullNode, PullState
from modeldist.control.pulls.selection import Selector
from modeldist.control.store.database import Database
from modeldist.control.store.tables import DeliveryRow, PullNodeRow, PullRow
from modeldist.control.store.upsert import upsert
from modeldist.control.webhooks.signing import Webhook
from modeldist.errors import ErrorInfo
from modeldist.scheduler.messages import Priority


class Pulls:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, pull: Pull) -> Pull:
        """Store a new pull; the older one when its idempotency key is taken."""
        try:
            async with self._database.transaction() as session:
                session.add(
                    PullRow(
                        id=pull.id,
                        reference=pull.reference,
                        selector=pull.selector.to_json(),
                        priority=int(pull.priority),
                        state=pull.state,
                        created_at=pull.created_at,
                        finished_at=pull.finished_at,
                        idempotency_key=pull.idempotency_key,
                        deadline=pull.deadline,
                        webhook={"url": pull.webhook.url, "secret": pull.webhook.secret} if pull.webhook else None,
                    )
                )
                await session.flush()
                if pull.webhook:
                    session.add(DeliveryRow(pull=pull.id, state="waiting", attempts=0, due=pull.created_at, error=""))
                await upsert(session, PullNodeRow, [_row(pull.id, node) for node in pull.nodes.values()])
        except IntegrityError:
            older = await self.by_key(pull.idempotency_key) if pull.idempotency_key else None
            if older is None:
                raise
            return older
        return pull

    async def write(self, changed: Iterable[tuple[Pull, Iterable[str]]]) -> None:
        """Write pulls' states and the named nodes of each, in one transaction."""
        async with self._database.transaction() as session:
            for pull, nodes in changed:
                await session.execute(
                    update(PullRow).where(PullRow.id == pull.id).values(state=pull.state, finished_at=pull.finished_at)
                )
                await upsert(session, PullNodeRow, [_row(pull.id, pull.nodes[node]) for node in sorted(nodes)])

    async def get(self, pull_id: str) -> Pull | None:
        async with self._database.transaction() as session:
            row = await session.get(PullRow, pull_id)
            return (await self._with_nodes(session, [row]))[0] if row else None

    async def by_key(self, key: str) -> Pull | None:
        async with self._database.transaction() as session:
            found = await session.execute(select(PullRow).where(PullRow.idempotency_key == key))
            row = found.scalar_one_or_none()
            return (await self._with_nodes(session, [row]))[0] if row else None

    async def running(self) -> Sequence[Pull]:
        async with self._database.transaction() as session:
            found = await session.execute(select(PullRow).where(PullRow.state == "running").order_by(PullRow.id))
            return await self._with_nodes(session, found.scalars().all())

    async def listing(self, before: str | None, limit: int, state: PullState | None) -> Sequence[Pull]:
        """Up to `limit` pulls, newest first, older than `before`."""
        query = select(PullRow).order_by(PullRow.id.desc()).limit(limit)
        if before is not None:
            query = query.where(PullRow.id < before)
        if state is not None:
            query = query.where(PullRow.state == state)
        async with self._database.transaction() as session:
            return await self._with_nodes(session, (await session.execute(query)).scalars().all())

    async def _with_nodes(self, session: AsyncSession, rows: Sequence[PullRow]) -> list[Pull]:
        pulls = {row.id: _pull(row) for row in rows}
        found = await session.execute(
            select(PullNodeRow).where(PullNodeRow.pull.in_(pulls)).order_by(PullNodeRow.pull, PullNodeRow.node)
        )
        for row in found.scalars():
            pulls[row.pull].nodes[row.node] = _node(row)
        return list(pulls.values())


def _pull(row: PullRow) -> Pull:
    return Pull(
        id=row.id,
        reference=row.reference,
        selector=Selector.from_json(row.selector),
        priority=Priority(row.priority),
        created_at=row.created_at,
        idempotency_key=row.idempotency_key,
        state=msgspec.convert(row.state, PullState),
        finished_at=row.finished_at,
        deadline=row.deadline,
        webhook=Webhook(**row.webhook) if row.webhook else None,
    )


def _node(row: PullNodeRow) -> PullNode:
    return PullNode(
        row.node,
        row.state,
        row.updated_at,
        row.bytes_total,
        row.bytes_origin,
        row.bytes_peers,
        row.bytes_local,
        row.path,
        msgspec.convert(row.error, ErrorInfo) if row.error else None,
    )


def _row(pull: str, node: PullNode) -> dict[str, object]:
    return {
        "pull": pull,
        "node": node.node,
        "state": node.state,
        "bytes_total": node.bytes_total,
        "bytes_origin": node.bytes_origin,
        "bytes_peers": node.bytes_peers,
        "bytes_local": node.bytes_local,
        "path": node.path,
        "error": msgspec.to_builtins(node.error) if node.error else None,
        "updated_at": node.updated_at,
    }
