"""Tokens that are made, expire and are taken away, on both databases and by the command."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from modeldist.cli.main import program
from modeldist.client import AsyncClient
from modeldist.control.store.database import Database
from modeldist.control.store.tokens import REMEMBERED_FOR, Tokens
from modeldist.control.token_watch import TokenWatch
from modeldist.errors import ControlPlaneRefused, ControlPlaneUnreachable, NotFound, UsageError
from tests.servers.control_plane import ServedControlPlane, served_control_plane
from tests.servers.memory_origin import MemoryOrigin
from tests.servers.scripted_agent import PATIENCE


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


async def test_a_token_expires_to_the_second_also_where_it_is_remembered(database_url: str) -> None:
    clock = Clock()
    database = await Database.open(database_url)
    try:
        tokens = Tokens(database, clock, clock)
        long = await tokens.create("long", "admin")
        clock.now += 1
        short = await tokens.create("short", "read", 10.0)
        for passed, opens in ((0.0, True), (8.0, True), (1.9, True), (0.2, False), (1e9, False)):
            clock.now += passed
            assert (await tokens.verify(short) is not None) is opens, passed
            assert await tokens.verify(long) is not None
        kept = [(each.name, each.scope, each.expires_at) for each in await tokens.all()]
        assert kept == [("long", "admin", None), ("short", "read", 1_800_000_011.0)]
    finally:
        await database.close()


async def test_a_revoked_token_opens_nothing(database_url: str) -> None:
    clock = Clock()
    database = await Database.open(database_url)
    try:
        here, elsewhere = Tokens(database, clock, clock), Tokens(database, clock, clock)
        secret = await here.create("ci", "admin")
        assert await elsewhere.verify(secret) is not None
        gone = await here.revoke("ci")
        assert gone is not None and gone.name == "ci"
        assert await here.verify(secret) is None
        clock.now += REMEMBERED_FOR  # what another replica, or the running control plane, may remember
        assert await elsewhere.verify(secret) is None
        assert await here.revoke("ci") is None
    finally:
        await database.close()


async def test_of_two_with_one_name_the_id_says_which(database_url: str) -> None:
    database = await Database.open(database_url)
    try:
        tokens = Tokens(database)
        first, second = [await tokens.create("same", "read") for _ in range(2)]
        assert await tokens.revoke("same") is None
        assert await tokens.revoke(first.split("_")[1]) is not None
        assert await tokens.verify(first) is None
        assert await tokens.verify(second) is not None
    finally:
        await database.close()


async def test_an_expired_token_opens_no_route(sqlite_control: ServedControlPlane) -> None:
    expired = await sqlite_control.plane.tokens.create("old", "admin", -1.0)
    async with AsyncClient(sqlite_control.url, expired) as client:
        with pytest.raises(ControlPlaneRefused):
            await client.status()


async def test_a_stream_of_events_ends_with_its_token(control: ServedControlPlane) -> None:
    """Revoked by a command beside the control plane, which looks every few seconds."""
    lent, kept = [await control.plane.tokens.create(name, "read", 600.0) for name in ("lent", "kept")]
    async with (
        asyncio.timeout(PATIENCE),
        control.client() as admin,
        control.client(lent) as reader,
        control.client(kept) as other,
    ):
        pull = await admin.create_pull("memory://org/model:v1")
        streams = [client.stream_events(pull.id) for client in (reader, other)]
        assert [(await anext(stream)).kind for stream in streams] == ["snapshot", "snapshot"]
        await control.plane.token_watch.look()
        assert await Tokens(control.plane.database).revoke("lent") is not None
        await control.plane.token_watch.look()
        with pytest.raises(ControlPlaneUnreachable, match="stopped telling"):
            await anext(streams[0])
        with pytest.raises(ControlPlaneRefused):
            await anext(reader.follow(pull.id))
        await admin.cancel_pull(pull.id)
        assert [event.kind async for event in streams[1]][-1] == "end"


async def test_a_stream_of_events_ends_when_its_token_expires(control: ServedControlPlane) -> None:
    ahead = [0.0]
    tokens = Tokens(control.plane.database, lambda: time.time() + ahead[0])
    watch = TokenWatch(tokens, control.plane.core, time.monotonic, control.plane.book.watches)
    lent = await control.plane.tokens.create("lent", "read", lifetime=600.0)
    async with asyncio.timeout(PATIENCE), control.client() as admin, control.client(lent) as reader:
        pull = await admin.create_pull("memory://org/model:v1")
        events = reader.stream_events(pull.id)
        assert (await anext(events)).kind == "snapshot"
        await watch.look()
        ahead[0] = 601.0
        await watch.look()
        with pytest.raises(ControlPlaneUnreachable, match="stopped telling"):
            await anext(events)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(program, ["token", *arguments])


def test_the_command(tmp_path: Path) -> None:
    state = tmp_path / "state"

    async def opens(secret: str) -> bool:
        async with served_control_plane(state, MemoryOrigin()) as served, AsyncClient(served.url, secret) as client:
            try:
                await client.list_pulls()
            except ControlPlaneRefused:
                return False
            return True

    assert run("ls", "--state-dir", str(state)).exit_code == UsageError.exit_code  # nothing is made by looking
    assert not state.exists()
    assert not asyncio.run(opens("nobody's"))
    made = run("create", "board", "--expires", "90d", "--state-dir", str(state))
    assert made.exit_code == 0, made.output
    secret = made.stdout.strip()
    assert "expires on" in made.stderr
    assert asyncio.run(opens(secret))
    rows = json.loads(run("ls", "--json", "--state-dir", str(state)).stdout)
    assert [(row["name"], row["scope"]) for row in rows if row["expires_at"]] == [("board", "read")]
    assert secret.rpartition("_")[2] not in run("ls", "--state-dir", str(state)).output
    assert run("revoke", "board", "--state-dir", str(state)).exit_code == 0
    assert not asyncio.run(opens(secret))
    assert run("revoke", "board", "--state-dir", str(state)).exit_code == NotFound.exit_code
