"""Records of who did what, in the database: over restarts, within bounds, and whatever somebody writes into them."""

from __future__ import annotations

import asyncio
import os
import pwd
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from click.testing import CliRunner
from sqlalchemy import func, inspect, select
from sqlalchemy.exc import OperationalError
from websockets.asyncio.client import connect

from modeldist.cli.main import program
from modeldist.control.audit_trail import AuditRecord, AuditTrail
from modeldist.control.store.audit import AuditRecords
from modeldist.control.store.database import Database
from modeldist.control.store.schema import migrate
from modeldist.control.store.tables import AuditRow
from modeldist.session.messages import encode
from tests.servers.control_plane import ServedControlPlane, served_control_plane
from tests.servers.memory_origin import MemoryOrigin
from tests.servers.scripted_agent import PATIENCE, hello, scripted_agent

WRONG = {"Authorization": "Bearer nonsense"}
NOON = 1_795_780_800.0
DAY = 86_400.0


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = await Database.open(database_url)
    yield database
    await database.close()


class Clock:
    """Seconds since the epoch, as a test sets them."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def trail_on(
    store: AuditRecords, clock: Clock, *, most: int = 1000, age: float = 90 * DAY, delay: float = 60.0
) -> AsyncIterator[AuditTrail]:
    """Writes when it is asked or closed, or after `delay` seconds."""
    trail = AuditTrail(store, clock, most=most, age=age, delay=delay)
    try:
        yield trail
    finally:
        await trail.close()


def did(trail: AuditTrail, action: str, outcome: int = 202) -> None:
    trail.keep(asked="POST /x", outcome=outcome, client="10.0.0.9", token="someone", role="admin", action=action)


def actions(records: Sequence[AuditRecord]) -> list[str]:
    return [record.action for record in records]


async def rows(database: Database) -> int:
    async with database.transaction() as session:
        return (await session.execute(select(func.count()).select_from(AuditRow))).scalar_one()


async def audit_of(control: ServedControlPlane, query: str = "") -> Any:
    async with httpx2.AsyncClient(base_url=control.url, trust_env=False) as http:
        answer = await http.get(f"/api/v1/audit{query}", headers={"Authorization": f"Bearer {control.admin_token}"})
        assert answer.status_code == 200, answer.text
        return answer.json()


async def ask(control: ServedControlPlane, method: str, path: str, body: object = None) -> int:
    async with httpx2.AsyncClient(base_url=control.url, trust_env=False) as http:
        headers = {"Authorization": f"Bearer {control.admin_token}"}
        return (await http.request(method, path, json=body, headers=headers)).status_code


async def test_a_regular_stop_loses_nothing_and_a_restart_has_all(
    tmp_path: Path, origin: MemoryOrigin, database_url: str
) -> None:
    async with served_control_plane(tmp_path / "state", origin, database_url) as first:
        await ask(first, "POST", "/api/v1/resolve", {"reference": "memory://org/model:v1"})
        before = await audit_of(first)
        async with httpx2.AsyncClient(base_url=first.url, trust_env=False) as http:
            await http.get("/api/v1/status", headers=WRONG)
        await ask(first, "POST", "/api/v1/pulls", {"reference": "memory://org/model:v1", "nodes": "all"})
    async with served_control_plane(tmp_path / "state", origin, database_url) as second:
        after = await audit_of(second)
        pages = [await audit_of(second, "?limit=1")]
        while pages[-1]["next"]:
            pages.append(await audit_of(second, f"?limit=1&cursor={pages[-1]['next']}"))
    told = [(each["token"], each["action"], each["outcome"]) for each in after["records"]]
    assert told == [("first admin", "create_pull", 202), ("", "", 401), ("first admin", "resolve", 200)]
    assert after["records"][2:] == before["records"]
    assert after["since"] == before["since"] == before["records"][0]["at"]
    assert [record for page in pages for record in page["records"]] == after["records"]
    assert (after["most"], after["age"]) == (50_000, 90 * DAY)


async def test_what_people_did_is_kept_whatever_else_comes(database: Database) -> None:
    clock = Clock()
    async with trail_on(AuditRecords(database), clock, most=10) as trail:
        did(trail, "create_pull")
        for outcome in (101, 401, 403):
            for number in range(1500):
                did(trail, f"{outcome} {number}", outcome)
        found = await trail.page(None, 500)
        refused = [f"403 {number}" for number in range(1499, 1489, -1)]
        sessions = [f"101 {number}" for number in range(1499, 1489, -1)]
        assert actions(found) == [*refused, *sessions, "create_pull"]
        assert await rows(database) == 21
        assert actions(await trail.page(found[9].id, 3)) == sessions[:3]


async def test_what_is_too_old_is_shown_no_more_and_then_forgotten(database: Database) -> None:
    clock = Clock()
    async with trail_on(AuditRecords(database), clock, age=DAY) as trail:
        did(trail, "first")
        clock.now += DAY / 2
        did(trail, "second")
        assert actions(await trail.page(None, 9)) == ["second", "first"]
        assert await trail.oldest() == NOON
        clock.now = NOON + DAY + 1
        assert actions(await trail.page(None, 9)) == ["second"]
        assert await trail.oldest() == NOON + DAY / 2
        assert await rows(database) == 2
    async with trail_on(AuditRecords(database), clock, age=DAY) as trail:  # looks when it writes first
        did(trail, "third")
        assert actions(await trail.page(None, 9)) == ["third", "second"]
        assert await rows(database) == 2
        clock.now += 2 * DAY
        assert await trail.page(None, 9) == []
        assert await trail.oldest() == clock.now


async def test_cluster_time_orders_what_several_processes_did(database: Database) -> None:
    """Whenever each found the time to write; and their own order where no time passed between two."""
    clock, store, happened = Clock(), AuditRecords(database), []
    async with trail_on(store, clock) as one, trail_on(store, clock) as other:
        for number in range(6):
            clock.now += 1.0
            for action in (f"{number}", f"{number}, at once"):
                did((one, other)[number % 2], action)
                happened.append(action)
        assert len(await other.page(None, 20)) == 6
        await one.page(None, 20)
        assert actions(await other.page(None, 20)) == happened[::-1]


class Breaking(AuditRecords):
    """A database that is away for the next writes, before or after it wrote."""

    def __init__(self, database: Database, failures: Iterator[str]) -> None:
        super().__init__(database)
        self.failures = failures

    async def add(self, records: Sequence[AuditRecord]) -> None:
        failure = next(self.failures, "")
        if failure != "before":
            await super().add(records)
        if failure:
            raise OperationalError("INSERT", {}, OSError("the connection is closed"))


async def test_what_could_not_be_written_is_written_once_the_database_is_back(database: Database) -> None:
    store = Breaking(database, iter(["before", "after", "before"]))
    async with trail_on(store, Clock(), delay=0.01) as trail:
        for number in range(700):
            did(trail, str(number))
        async with asyncio.timeout(PATIENCE):
            while await rows(database) < 700:
                await asyncio.sleep(0.02)
        assert actions(await trail.page(None, 701)) == [str(number) for number in range(699, -1, -1)]


async def test_no_text_keeps_records_from_being_written_and_none_is_a_secret(control: ServedControlPlane) -> None:
    assert await ask(control, "POST", "/api/v1/a%00b%ff%ed%a0%80") == 404
    named = "https://models.example/m.safetensors?token=in-the-query-77#in-the-fragment-77"
    assert await ask(control, "POST", "/api/v1/evict", {"reference": named, "nodes": ["nobody"]}) == 404
    with_password = named.replace("https://", "https://user:in-the-url-77@")
    assert await ask(control, "POST", "/api/v1/evict", {"reference": with_password, "nodes": ["nobody"]}) == 400
    page = await audit_of(control)
    objects = [record["object"] for record in page["records"]]
    assert objects == [*["https://models.example/m.safetensors"] * 2, ""]
    assert page["records"][2]["asked"].startswith("POST /api/v1/a\N{REPLACEMENT CHARACTER}b")
    assert "-77" not in str(page)


async def test_back_to_the_schema_before_and_forth(database_url: str) -> None:
    database = await Database.open(database_url)
    async with trail_on(AuditRecords(database), Clock()) as trail:
        did(trail, "before")
    assert await rows(database) == 1
    await migrate(database.engine, "0007", back=True)
    async with database.engine.connect() as connection:
        assert "audit" not in await connection.run_sync(lambda sync: inspect(sync).get_table_names())
    await database.close()
    again = await Database.open(database_url)
    async with trail_on(AuditRecords(again), Clock()) as trail:
        did(trail, "after")
        assert actions(await trail.page(None, 9)) == ["after"]
    await again.close()


async def test_a_session_names_its_node_once_it_greeted(control: ServedControlPlane) -> None:
    """One row for each, made at the greeting, and no more of them while it reports."""
    headers = {"Authorization": f"Bearer {control.agent_token}"}
    async with scripted_agent(control.ws, control.agent_token, "a"):
        page = await audit_of(control)
        assert [(each["action"], each["object"], each["outcome"]) for each in page["records"]] == [
            ("session", "a a", 101)
        ]
    async with connect(control.ws, additional_headers=headers, proxy=None):
        assert len((await audit_of(control))["records"]) == 1, "nobody knows yet whose it is"
    await recorded(control, "", "a a")
    async with connect(control.ws, additional_headers=headers, proxy=None) as refused:
        await refused.send(encode(hello("b\nadmin")))
        await refused.wait_closed()
    await recorded(control, "", "", "a a")
    async with scripted_agent(control.ws, control.agent_token, "c", name="gpu#1?/@"):
        await recorded(control, "c gpu#1?/@", "", "", "a a")


async def recorded(control: ServedControlPlane, *sessions: str) -> None:
    """Wait for as many records; the newest first."""
    async with asyncio.timeout(PATIENCE):
        while len(records := (await audit_of(control))["records"]) < len(sessions):
            await asyncio.sleep(0.02)
    assert [(each["action"], each["object"]) for each in records] == [("session", each) for each in sessions]


async def test_what_was_done_by_command_has_the_users_name(control: ServedControlPlane, database_url: str) -> None:
    """While the control plane runs, which shows it."""

    def command(*arguments: str) -> str:
        state_dir = ("--state-dir", str(control.state_dir), "--database-url", database_url)
        done = CliRunner().invoke(program, [*arguments, *state_dir])
        assert done.exit_code == 0, done.stderr
        return done.stdout.strip()

    def commands() -> list[str]:
        made = [command("token", "create", "ci", "--scope", "admin"), command("token", "join")]
        command("token", "revoke", "ci")
        command("authority", "rotate")
        return made

    ci, join = await asyncio.to_thread(commands)
    records = (await audit_of(control))["records"]
    assert [(each["action"], each["asked"], each["object"]) for each in records[::-1]] == [
        ("create_admin_token", "modeldist token create", f"{ci.split('_')[1]} ci"),
        ("create_join_token", "modeldist token join", f"{join.split('_')[1]} join"),
        ("revoke_token", "modeldist token revoke", f"{ci.split('_')[1]} ci"),
        ("rotate_authority", "modeldist authority rotate", ""),
    ]
    assert {(each["token"], each["role"], each["client"]) for each in records} == {
        (pwd.getpwuid(os.getuid()).pw_name, "local", socket.gethostname())
    }
    assert ci.split("_")[2] not in str(records)
