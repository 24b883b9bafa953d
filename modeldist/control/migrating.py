"""Bringing the database to a schema by hand: back to an older version of this program, before that is started again."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from modeldist.control.plane import DATABASE
from modeldist.control.settings import ServerSettings
from modeldist.control.store.database import engine_for, said_by, sqlite_url
from modeldist.control.store.schema import migrate, revision_of, revisions
from modeldist.errors import StorageError, UsageError

_REPLICAS = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'modeldist replica'
"""


async def migrate_to(settings: ServerSettings, wanted: str) -> tuple[str | None, str]:
    """(revision before, revision now). `wanted`: one of `revisions()`, or "head". Nothing may run on the database; on
    SQLite the caller holds its lock. Raises UsageError, StorageError."""
    known = revisions()
    revision = known[-1] if wanted == "head" else wanted
    if revision not in known:
        raise UsageError(
            f"There is no revision {wanted!r} of the database.", remedy=f"Give head or one of {', '.join(known)}."
        )
    engine = engine_for(settings.database_url or sqlite_url(settings.state_dir / DATABASE))
    try:
        return await _migrate(engine, revision, known)
    except (SQLAlchemyError, OSError) as error:
        raise StorageError(
            f"The database {engine.url.render_as_string(hide_password=True)} cannot be used: {said_by(error)}",
            remedy="Check that it runs and that the URL is right.",
        ) from error
    finally:
        await engine.dispose()


async def _migrate(engine: AsyncEngine, revision: str, known: list[str]) -> tuple[str | None, str]:
    if engine.dialect.name == "postgresql":
        async with engine.connect() as connection:
            if running := (await connection.execute(text(_REPLICAS))).scalar_one():
                raise UsageError(
                    f"Replicas of the control plane run on this database ({running}).", remedy="Stop all of them first."
                )
    before = await revision_of(engine)
    back = before in known and known.index(before) > known.index(revision)
    await migrate(engine, revision, back=back)
    return before, revision
