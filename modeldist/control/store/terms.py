"""Who leads, in the database: a term's row, which each transaction of a leader is held against.

A leader that was cut off may not know yet that another one leads. What it writes then would be lost on the new leader,
who has read everything already; so no transaction of an earlier term is committed after a later one began.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from modeldist.control.store.tables import MetaRow
from modeldist.errors import UNDECODABLE, NotLeading

KEY = "leader"  # in the table `meta`
LEADER_LOCK = 0x6D6F64656D  # any number, the same for all replicas; beside the migrations' lock
TERM_LOCK = 0x6D6F64656E  # held by transactions of a term, and by whoever begins the next


@dataclass(frozen=True)
class Term:
    """`number` counts up; `replica` is a random name of the process that leads, `url` where it is asked; `since`:
    seconds since the epoch."""

    number: int
    replica: str
    url: str
    since: float

    def stored(self) -> bytes:
        return msgspec.json.encode(self)


def term_of(stored: bytes | None) -> Term | None:
    """None where nobody led yet, or a later version writes it in another way."""
    try:
        return None if stored is None else msgspec.json.decode(stored, type=Term)
    except UNDECODABLE:
        return None


async def hold_to(session: AsyncSession, term: Term) -> None:
    """The first statements of a transaction that belongs to `term`. Raises NotLeading when another one began: that
    waits until this transaction has ended, or is seen here."""
    await session.execute(text("SELECT pg_advisory_xact_lock_shared(:key)"), {"key": TERM_LOCK})
    stored = (await session.execute(select(MetaRow.value).where(MetaRow.key == KEY))).scalar_one_or_none()
    if stored != term.stored():
        raise NotLeading("Another replica of the control plane leads now; this was not written.", retry_after=1.0)
