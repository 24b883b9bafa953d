"""What there is once per cluster: its id, the key that signs capabilities, the authority over nodes, all made once; and
the time in which capabilities expire."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from modeldist.control.authorities import Authorities
from modeldist.control.store.database import Database
from modeldist.control.store.tables import MetaRow
from modeldist.control.store.upsert import upsert
from modeldist.transfer.capability import new_private_key
from modeldist.transfer.tls.authority import new_authority

_TIME = "cluster_time"
_AUTHORITY = "node_authority"
_ROTATION = "node_authority_rotation"  # what is beside it; the older releases know nothing of it, and lose nothing


@dataclass(frozen=True)
class Identity:
    """`capability_key` is the raw Ed25519 private key (32 bytes), `authority` the key and the certificate of what
    certifies nodes (PEM)."""

    cluster: str
    capability_key: bytes
    authority: bytes

    def __repr__(self) -> str:
        return f"Identity(cluster={self.cluster!r}, capability_key=…, authority=…)"


class Meta:
    """Key and value pairs that exist once per cluster."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def identity(self) -> Identity:
        """The stored identity; created on the first call, by whichever replica comes first."""
        cluster = secrets.token_hex(8)
        fresh = {
            "cluster": cluster.encode(),
            "capability_key": new_private_key(),
            _AUTHORITY: new_authority(cluster),  # one value, so that key and certificate are of one maker
        }
        async with self._database.transaction() as session:
            stored = {key: await self._once(session, key, value) for key, value in fresh.items()}
        return Identity(stored["cluster"].decode(), stored["capability_key"], stored[_AUTHORITY])

    async def authorities(self) -> Authorities:
        """Over nodes; after `identity`."""
        async with self._database.transaction() as session:
            return await self._authorities(session)

    async def keep_authorities(self, before: Authorities, after: Authorities) -> bool:
        """Whether it was `before` until now, and is `after`."""
        async with self._database.transaction() as session:
            if await self._authorities(session) != before:
                return False
            rotation = msgspec.structs.replace(after, current=b"")
            rows = [(_AUTHORITY, after.current), (_ROTATION, msgspec.msgpack.encode(rotation))]
            await upsert(session, MetaRow, [{"key": key, "value": value} for key, value in rows])
            return True

    async def _authorities(self, session: AsyncSession) -> Authorities:
        query = select(MetaRow.key, MetaRow.value).where(MetaRow.key.in_((_AUTHORITY, _ROTATION))).with_for_update()
        stored = {row.key: row.value for row in await session.execute(query)}
        if (rotation := stored.get(_ROTATION)) is None:
            return Authorities(stored[_AUTHORITY])
        decoded = msgspec.msgpack.decode(rotation, type=Authorities)
        return msgspec.structs.replace(decoded, current=stored[_AUTHORITY])

    async def noted_time(self) -> float:
        """The latest of the cluster's time that was noted (seconds); 0 where none was."""
        async with self._database.transaction() as session:
            return await self._noted(session)

    async def note_time(self, time: float) -> None:
        """Unless a later one was noted."""
        async with self._database.transaction() as session:
            if time > await self._noted(session):
                await upsert(session, MetaRow, [{"key": _TIME, "value": repr(time).encode()}])

    async def _noted(self, session: AsyncSession) -> float:
        value = (await session.execute(select(MetaRow.value).where(MetaRow.key == _TIME))).scalar_one_or_none()
        return float(value) if value else 0.0

    async def _once(self, session: AsyncSession, key: str, value: bytes) -> bytes:
        await upsert(session, MetaRow, [{"key": key, "value": value}], keep=("value",))
        return (await session.execute(select(MetaRow.value).where(MetaRow.key == key))).scalar_one()
