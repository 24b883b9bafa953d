"""Opening the database: SQLite with WAL, or PostgreSQL by URL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from modeldist.control.store.schema import migrate
from modeldist.control.store.terms import Term, hold_to
from modeldist.errors import StorageError, UsageError

CONNECT = 5.0  # seconds
_POSTGRESQL_SETTINGS = {
    # A leader that is cut off in the middle of a transaction must not keep the next one from beginning its term.
    "idle_in_transaction_session_timeout": "5000",
    "tcp_keepalives_idle": "2",
    "tcp_keepalives_interval": "1",
    "tcp_keepalives_count": "3",
}


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file, which is made for its owner alone: it holds the key that signs capabilities."""
    path.touch(mode=0o600)
    return f"sqlite+aiosqlite:///{path}"


def sqlite_file(url: str) -> Path | None:
    """The file that `url` names; None where it is another database, or no URL."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        return None
    named = parsed.database if parsed.get_backend_name() == "sqlite" else None
    return Path(named) if named and named != ":memory:" else None


class Database:
    """An engine at the current schema. Repositories take a transaction from it. `term`: that of the leader that asks;
    None where there is one process."""

    def __init__(self, engine: AsyncEngine, term: Term | None = None) -> None:
        self._engine = engine
        self._term = term
        self._sessions = async_sessionmaker(engine, expire_on_commit=False)

    def during(self, term: Term) -> Database:
        """The same, for whoever leads in `term`: its transactions raise NotLeading once another one began."""
        return Database(self._engine, term)

    @property
    def engine(self) -> AsyncEngine:
        return self._engine

    @classmethod
    async def open(cls, url: str) -> Database:
        """Connect and migrate. Raises UsageError (the URL), StorageError (the database)."""
        engine = engine_for(url)
        try:
            await migrate(engine)
        except (SQLAlchemyError, OSError) as error:
            await engine.dispose()
            raise StorageError(
                f"The database {engine.url.render_as_string(hide_password=True)} cannot be used: {said_by(error)}",
                remedy="Check that it runs, that its directory can be written and that the URL is right.",
            ) from error
        except BaseException:
            await engine.dispose()
            raise
        return cls(engine)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """Committed at the end, rolled back on an exception. Raises NotLeading."""
        async with self._sessions.begin() as session:
            if self._term is not None:
                await hold_to(session, self._term)
            yield session

    async def close(self) -> None:
        await self._engine.dispose()


def engine_for(url: str) -> AsyncEngine:
    """An engine with the driver and settings this program uses. Raises UsageError."""
    try:
        parsed = make_url(url)
        if parsed.drivername in ("postgresql", "postgres"):
            parsed = parsed.set(drivername="postgresql+asyncpg")
        elif parsed.drivername == "sqlite":
            parsed = parsed.set(drivername="sqlite+aiosqlite")
        if parsed.drivername not in ("postgresql+asyncpg", "sqlite+aiosqlite"):
            raise ArgumentError(f"{parsed.drivername} is neither sqlite nor postgresql")
        if parsed.drivername == "sqlite+aiosqlite":
            engine = create_async_engine(parsed, connect_args={"timeout": 10})
            event.listen(engine.sync_engine, "connect", _sqlite_settings)
            return engine
        return create_async_engine(
            parsed,
            pool_size=5,
            max_overflow=5,
            pool_pre_ping=True,
            isolation_level="READ COMMITTED",  # as `terms.hold_to` needs it, whatever the database's default is
            connect_args={"timeout": CONNECT, "server_settings": _POSTGRESQL_SETTINGS},
        )
    except ArgumentError as error:
        raise UsageError(
            f"The database URL cannot be used: {error}.",
            remedy="Write sqlite:////path/to/file or postgresql://user:password@host/database.",
        ) from error
    except ModuleNotFoundError as error:
        raise UsageError(
            f"PostgreSQL needs the Python package {error.name}.", remedy="Install modeldist[postgres]."
        ) from error


def asyncpg_arguments(engine: AsyncEngine) -> dict[str, Any]:
    """What `asyncpg.connect` needs to reach the same database."""
    _, arguments = engine.dialect.create_connect_args(engine.url)
    return {name: value for name, value in arguments.items() if not name.startswith(("prepared_statement_", "async_"))}


def _sqlite_settings(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def said_by(error: BaseException) -> str:
    """The driver's own sentence, without SQLAlchemy's paragraph about it."""
    return str(getattr(error, "orig", None) or error)
