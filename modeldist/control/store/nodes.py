"""Nodes that connected once, and when they were last seen."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select

from modeldist.control.store.database import Database
from modeldist.control.store.tables import NodeRow
from modeldist.control.store.upsert import upsert
from modeldist.session.messages import Hello


@dataclass(frozen=True, slots=True)
class KnownNode:
    node: str
    name: str
    version: str
    address: str
    rack: str
    zone: str
    labels: Mapping[str, str]
    first_seen: float
    last_seen: float


class Nodes:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def seen(self, hellos: Mapping[str, tuple[Hello, float]]) -> None:
        """Write what nodes said of themselves (by node id) and when they were last heard."""
        rows = [
            {
                "node": node,
                "name": hello.name,
                "version": hello.version,
                "address": hello.address,
                "rack": hello.location.rack,
                "zone": hello.location.zone,
                "labels": hello.labels,
                "first_seen": at,
                "last_seen": at,
            }
            for node, (hello, at) in sorted(hellos.items())
        ]
        async with self._database.transaction() as session:
            await upsert(session, NodeRow, rows, keep=("first_seen",))

    async def known(self, nodes: Collection[str]) -> set[str]:
        """Those of `nodes` that connected once."""
        async with self._database.transaction() as session:
            found = await session.execute(select(NodeRow.node).where(NodeRow.node.in_(nodes)))
            return set(found.scalars())

    async def seen_since(self, when: float) -> set[str]:
        """Nodes that were connected at `when` (seconds since the epoch) or later."""
        async with self._database.transaction() as session:
            found = await session.execute(select(NodeRow.node).where(NodeRow.last_seen >= when))
            return set(found.scalars())

    async def in_racks(self) -> dict[tuple[str, str], int]:
        """How many are known in each zone and rack."""
        query = select(NodeRow.zone, NodeRow.rack, func.count()).group_by(NodeRow.zone, NodeRow.rack)
        async with self._database.transaction() as session:
            return {(zone, rack): count for zone, rack, count in await session.execute(query)}

    async def get(self, node: str) -> KnownNode | None:
        async with self._database.transaction() as session:
            row = await session.get(NodeRow, node)
        return _node(row) if row else None

    async def listing(self, after: str | None, limit: int) -> Sequence[KnownNode]:
        """Up to `limit` nodes in order of id, from behind `after`."""
        query = select(NodeRow).order_by(NodeRow.node).limit(limit)
        if after is not None:
            query = query.where(NodeRow.node > after)
        async with self._database.transaction() as session:
            return [_node(row) for row in (await session.execute(query)).scalars()]


def _node(row: NodeRow) -> KnownNode:
    return KnownNode(
        row.node,
        row.name,
        row.version,
        row.address,
        row.rack,
        row.zone,
        row.labels,
        row.first_seen,
        row.last_seen,
    )
