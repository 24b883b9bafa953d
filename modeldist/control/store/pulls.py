"""Pulls and their nodes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Text, cast, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from modeldist.control.pulls.brief import Brief
from modeldist.control.pulls.pull import Pull, PullNode, PullState
from modeldist.control.pulls.selection import Selector
from modeldist.control.store.database import Database
from modeldist.control.store.tables import DeliveryRow, PullNodeRow, PullRow
from modeldist.control.store.upsert import upsert
from modeldist.control.webhooks.signing import Webhook
from modeldist.errors import ErrorInfo
from modeldist.scheduler.messages import Priority

PAGE_BYTES = 4 << 20  # of the nodes that the pulls of one page name, as JSON


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

    async def listing(self, before: str | None, limit: int, state: PullState | None) -> tuple[Sequence[Brief], bool]:
        """Up to `limit` pulls, newest first, older than `before`, and whether there are more. Fewer where they name
        very many nodes. What their nodes come to is counted by the database."""
        query = select(PullRow.id, func.length(cast(PullRow.selector, Text))).order_by(PullRow.id.desc())
        if before is not None:
            query = query.where(PullRow.id < before)
        if state is not None:
            query = query.where(PullRow.state == state)
        async with self._database.transaction() as session:
            found = (await session.execute(query.limit(limit + 1))).all()
            page = [pull for pull, _ in found[: _fitting([size for _, size in found], limit)]]
            rows = await session.execute(select(PullRow).where(PullRow.id.in_(page)).order_by(PullRow.id.desc()))
            counted = await session.execute(
                select(PullNodeRow.pull, PullNodeRow.state, func.count(), *_SUMS)
                .where(PullNodeRow.pull.in_(page))
                .group_by(PullNodeRow.pull, PullNodeRow.state)
            )
            return _briefs(rows.scalars().all(), counted.all()), len(page) < len(found)

    async def _with_nodes(self, session: AsyncSession, rows: Sequence[PullRow]) -> list[Pull]:
        pulls = {row.id: _pull(row) for row in rows}
        found = await session.execute(
            select(PullNodeRow).where(PullNodeRow.pull.in_(pulls)).order_by(PullNodeRow.pull, PullNodeRow.node)
        )
        for row in found.scalars():
            pulls[row.pull].nodes[row.node] = _node(row)
        return list(pulls.values())


_HALF = 1 << 32
_BYTES = (PullNodeRow.bytes_total, PullNodeRow.bytes_origin, PullNodeRow.bytes_peers, PullNodeRow.bytes_local)
_SUMS = [func.sum(half) for column in _BYTES for half in (column // _HALF, column % _HALF)]
"""Of nodes that may say anything up to 2**63: no sum of halves is beyond what a database adds up."""


def _fitting(sizes: Sequence[int], limit: int) -> int:
    """How many of the first go into one page."""
    total = 0
    for number, size in enumerate(sizes[:limit]):
        total += size
        if total > PAGE_BYTES and number:
            return number
    return min(len(sizes), limit)


def _briefs(rows: Sequence[PullRow], counted: Iterable[Sequence[Any]]) -> list[Brief]:
    states: dict[str, dict[str, int]] = {row.id: {} for row in rows}
    sums = {row.id: [0] * len(_BYTES) for row in rows}
    for pull, state, number, *halves in counted:
        states[pull][state] = number
        for which in range(len(_BYTES)):
            sums[pull][which] += int(halves[2 * which]) * _HALF + int(halves[2 * which + 1])
    return [Brief(_pull(row), states[row.id], *sums[row.id]) for row in rows]


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
