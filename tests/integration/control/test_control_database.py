"""The store's schema on both databases: fresh, upgraded, downgraded, newer than the program, broken."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from click.testing import CliRunner, Result
from sqlalchemy import Connection, inspect, text
from sqlalchemy.ext.asyncio import AsyncEngine

from modeldist.cli.commands.server import server
from modeldist.control.pulls.pull import Pull, PullNode
from modeldist.control.pulls.selection import Selector
from modeldist.control.store.database import Database, engine_for, sqlite_url
from modeldist.control.store.meta import Meta
from modeldist.control.store.nodes import Nodes
from modeldist.control.store.pulls import Pulls
from modeldist.control.store.schema import alembic_config, migrate, revision_of
from modeldist.control.store.tables import Base
from modeldist.control.store.tokens import Tokens
from modeldist.errors import StorageError, UsageError
from modeldist.scheduler.messages import Priority
from modeldist.session.messages import Hello
from tests.servers.postgres_cluster import PostgresCluster

REVISIONS = [script.revision for script in ScriptDirectory.from_config(alembic_config()).walk_revisions()][::-1]


def tables(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names())


async def run(engine: AsyncEngine, statement: str) -> None:
    async with engine.begin() as connection:
        await connection.execute(text(statement))


async def test_a_fresh_database_is_what_the_tables_say(database_url: str) -> None:
    database = await Database.open(database_url)

    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, Base.metadata))

    async with database.engine.connect() as connection:
        assert await connection.run_sync(differences) == []
        assert await connection.run_sync(tables) == {*Base.metadata.tables, "alembic_version"}
    await database.close()


@pytest.mark.parametrize("revision", REVISIONS)
async def test_every_older_version_upgrades_with_its_rows(database_url: str, revision: str) -> None:
    engine = engine_for(database_url)
    await migrate(engine, revision)
    await run(engine, "INSERT INTO nodes VALUES ('n', 'n', '1', '', '', '', '{}', 1.5, 2.5)")
    await engine.dispose()
    database = await Database.open(database_url)
    async with database.engine.connect() as connection:
        assert (await connection.execute(text("SELECT last_seen FROM nodes"))).scalar_one() == 2.5
    pulls = Pulls(database)
    nodes = {"n": PullNode("n", "waiting", 1.0)}
    pull = Pull("p", "org/model", Selector(everyone=True), Priority.PULL, 1.0, nodes=nodes)
    assert await pulls.add(pull) is pull
    assert await pulls.get("p") == pull
    await database.close()


@pytest.mark.parametrize("revision", REVISIONS[1:-1])
async def test_back_and_forth_keeps_the_rows_that_both_versions_have(database_url: str, revision: str) -> None:
    database = await Database.open(database_url)
    token = await Tokens(database).create("mine", "admin")
    lent = await Tokens(database).create("lent", "admin", lifetime=3600.0)
    identity = await Meta(database).identity()
    node = {"n": (Hello(1, "n", "node", "1", "10.0.0.1:1", labels={"gpu": "h100"}), 5.0)}
    await Nodes(database).seen(node)
    ended = PullNode("n", "done", 2.0, bytes_total=7, path="/models/x")
    pull = Pull("p", "org/model", Selector(nodes=("n",)), Priority.PULL, 1.0, nodes={"n": ended})
    await Pulls(database).add(pull)
    await migrate(database.engine, revision, back=True)
    assert await revision_of(database.engine) == revision
    await database.close()
    again = await Database.open(database_url)
    assert await revision_of(again.engine) == REVISIONS[-1]
    assert await Meta(again).identity() == identity
    verified = await Tokens(again).verify(token)
    assert verified is not None
    assert verified.scope == "admin"
    if revision < "0006":
        assert await Tokens(again).verify(lent) is None  # it would never have expired
    assert (await Nodes(again).listing(None, 9))[0].labels == {"gpu": "h100"}
    assert await Pulls(again).get("p") == pull
    await again.close()


def test_the_command_goes_back_and_forth(database_url: str, tmp_path: Path) -> None:
    def migrated(revision: str) -> Result:
        given = ["--state-dir", str(tmp_path), "--database-url", database_url]
        return CliRunner().invoke(server, ["--migrate-to", revision, *given])

    assert f"was at revision none and is at {REVISIONS[-1]}" in migrated("head").stderr
    assert f"was at revision {REVISIONS[-1]} and is at 0003" in migrated("0003").stderr
    assert f"was at revision 0003 and is at {REVISIONS[-1]}" in migrated("head").stderr
    unknown = migrated("0000")
    assert unknown.exit_code == UsageError.exit_code
    assert "no revision '0000'" in unknown.stderr


async def test_the_noted_time_never_goes_back(database_url: str) -> None:
    database = await Database.open(database_url)
    meta = Meta(database)
    assert await meta.noted_time() == 0.0
    for time, noted in ((1_800_000_000.25, 1_800_000_000.25), (5.0, 1_800_000_000.25), (2e9, 2e9)):
        await meta.note_time(time)
        assert await Meta(database).noted_time() == noted
    await database.close()


async def test_migrations_go_back(database_url: str) -> None:
    database = await Database.open(database_url)
    async with database.engine.connect() as connection:
        await connection.run_sync(lambda sync: command.downgrade(alembic_config(sync), "base"))
        await connection.commit()
        assert await connection.run_sync(tables) == {"alembic_version"}
    await database.close()


async def test_opening_again_keeps_everything(database_url: str) -> None:
    first = await Database.open(database_url)
    token = await Tokens(first).create("mine", "read")
    identity = await Meta(first).identity()
    await first.close()
    second = await Database.open(database_url)
    verified = await Tokens(second).verify(token)
    assert verified is not None
    assert verified.scope == "read"
    assert await Meta(second).identity() == identity
    assert "capability_key=…" in repr(identity)
    await second.close()


async def test_a_newer_database_is_refused(database_url: str) -> None:
    database = await Database.open(database_url)
    await run(database.engine, "UPDATE alembic_version SET version_num = '9999'")
    await database.close()
    with pytest.raises(StorageError, match="another version of modeldist") as refused:
        await Database.open(database_url)
    assert "newer version" in refused.value.remedy


async def test_replicas_that_start_together(postgres: PostgresCluster) -> None:
    url = postgres.new_database()
    opened = await asyncio.gather(*(Database.open(url) for _ in range(3)))
    identities = {(await Meta(database).identity()).cluster for database in opened}
    assert len(identities) == 1
    for database in opened:
        await database.close()


async def test_sqlite_is_private_and_uses_wal(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite"
    database = await Database.open(sqlite_url(path))
    async with database.engine.connect() as connection:
        assert (await connection.execute(text("PRAGMA journal_mode"))).scalar_one() == "wal"
        assert (await connection.execute(text("PRAGMA foreign_keys"))).scalar_one() == 1
        assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.glob("x.sqlite*")} == {0o600}
    await database.close()


async def test_urls_that_cannot_work(tmp_path: Path) -> None:
    for url in ("", "nonsense", "mysql://localhost/x"):
        with pytest.raises(UsageError, match="database URL"):
            await Database.open(url)
    with pytest.raises(StorageError, match="cannot be used") as missing:
        await Database.open(f"sqlite:///{tmp_path}/no/such/directory/x.sqlite")
    assert missing.value.remedy
    broken = tmp_path / "broken.sqlite"
    broken.write_bytes(b"this is no database" * 100)
    with pytest.raises(StorageError, match=r"broken\.sqlite cannot be used: file is not a database"):
        await Database.open(f"sqlite:///{broken}")
    with pytest.raises(StorageError) as unreachable:
        await Database.open(f"postgresql://user:secret@/x?host={tmp_path}")
    assert "secret" not in str(unreachable.value)
