"""The advisory lock that makes one replica the leader, on a connection of its own: PostgreSQL frees it with the
connection, whatever ends that.

A process that is killed closes its connection. A machine that is gone, a cut network or a stopped process do not; so
PostgreSQL is told to give up a connection on which nothing came for a while (`FREED_AFTER`), and a leader stops
believing in itself before that (`held.BELIEVED`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self

from sqlalchemy.ext.asyncio import AsyncEngine

from modeldist.control.store.database import asyncpg_arguments
from modeldist.control.store.terms import KEY, LEADER_LOCK, TERM_LOCK, Term, term_of

FREED_AFTER = 4.0  # seconds
APPLICATION = "modeldist replica"  # as PostgreSQL lists its connections
_CONNECT = 3.0  # seconds
_ANSWER = 2.0  # seconds
_OTHERS_END = 10.0  # seconds for transactions of the term before; PostgreSQL ends those that stand still
_CLOSE = 1.0  # seconds

_SETTINGS = {
    "application_name": APPLICATION,
    "idle_session_timeout": f"{FREED_AFTER * 1000:.0f}",  # of a stopped process, whose kernel answers for it
    "tcp_keepalives_idle": "1",
    "tcp_keepalives_interval": "1",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": f"{FREED_AFTER * 1000:.0f}",
}

_OTHERS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = $1 AND pid <> pg_backend_pid()
"""
_READ = "SELECT value FROM meta WHERE key = $1"
_WRITE = "INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value"


class LeaderLock:
    """Use `LeaderLock.open`. Everything raises LockLost once the connection is of no use."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    @classmethod
    async def open(cls, engine: AsyncEngine) -> Self:
        """`engine` is asked where the database is."""
        import asyncpg

        try:
            return cls(
                await asyncpg.connect(
                    **asyncpg_arguments(engine), timeout=_CONNECT, command_timeout=_ANSWER, server_settings=_SETTINGS
                )
            )
        except _causes() as error:
            raise LockLost(_said(error)) from error

    async def attempt(self) -> bool:
        """Whether this connection has the lock now."""
        return bool(await self._ask("SELECT pg_try_advisory_lock($1)", LEADER_LOCK))

    async def leader(self) -> Term | None:
        """Who led last."""
        return term_of(await self._ask(_READ, KEY))

    async def begin(self, replica: str, url: str) -> Term:
        """Begin the next term, once all transactions of the one before have ended. Only with the lock."""
        await self._ask("SELECT pg_advisory_lock($1)", TERM_LOCK, seconds=_OTHERS_END)
        before = await self.leader()
        term = Term((before.number if before else 0) + 1, replica, url, time.time())
        await self._ask(_WRITE, KEY, term.stored())
        await self._ask("SELECT pg_advisory_unlock($1)", TERM_LOCK)
        return term

    async def beat(self) -> bool:
        """Show that this end is there, and see that the other is. Whether other replicas are there as well."""
        return bool(await self._ask(_OTHERS, APPLICATION))

    def on_lost(self, tell: Callable[[], None]) -> None:
        """`tell` is called on this loop when the other end closes the connection."""
        self._connection.add_termination_listener(lambda _: tell())

    async def close(self) -> None:
        """Free the lock: others may lead when this returns."""
        with suppress(*_causes()):
            await self._connection.close(timeout=_CLOSE)

    def abort(self) -> None:
        self._connection.terminate()

    async def _ask(self, statement: str, *arguments: object, seconds: float = _ANSWER) -> Any:
        try:
            async with asyncio.timeout(seconds + _ANSWER):
                return await self._connection.fetchval(statement, *arguments, timeout=seconds)
        except _causes() as error:
            raise LockLost(_said(error)) from error


class LockLost(Exception):
    """Why the connection is of no use."""


def _causes() -> tuple[type[Exception], ...]:
    import asyncpg

    return (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)


def _said(error: BaseException) -> str:
    return str(error) or ("no answer in time" if isinstance(error, TimeoutError) else type(error).__name__)
