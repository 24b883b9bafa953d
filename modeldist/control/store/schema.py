"""Bringing a database to the schema this version needs."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.script.revision import ResolutionError
from alembic.util import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine

from modeldist.errors import StorageError

HEAD = "head"
_MIGRATION_LOCK = 0x6D6F64656C  # any number, the same for all replicas


def alembic_config(connection: Connection | None = None) -> Config:
    """Alembic's settings without an ini file: scripts inside the package, the connection handed over."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


async def migrate(engine: AsyncEngine, revision: str = HEAD, *, back: bool = False) -> None:
    """Upgrade to `revision` (idempotent); with `back`, downgrade to it. Raises StorageError when the database is newer
    than this program."""
    async with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            # Replicas that start together migrate one after the other; the lock ends with the connection.
            await connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _MIGRATION_LOCK})
            await connection.commit()
        try:
            await connection.run_sync(_downgrade if back else _upgrade, revision)
            await connection.commit()
        except (CommandError, ResolutionError) as error:
            raise StorageError(
                f"The database {engine.url.render_as_string(hide_password=True)} was written by another version of "
                f"modeldist: {error}.",
                remedy="Start the newer version again, have it bring the database back "
                "(`modeldist server --migrate-to`), or give this one a database of its own.",
            ) from error
        finally:
            if engine.dialect.name == "postgresql":
                await connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _MIGRATION_LOCK})
                await connection.commit()


def _upgrade(connection: Connection, revision: str) -> None:
    command.upgrade(alembic_config(connection), revision)


def _downgrade(connection: Connection, revision: str) -> None:
    command.downgrade(alembic_config(connection), revision)


def revisions() -> list[str]:
    """All that this version knows, the oldest first."""
    return [script.revision for script in ScriptDirectory.from_config(alembic_config()).walk_revisions()][::-1]


async def revision_of(engine: AsyncEngine) -> str | None:
    """What the database has now; None when it is empty."""
    async with engine.connect() as connection:
        return await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())
