"""What the probes of a control plane say while something of it is not as it should be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import text

from modeldist.control.api import status
from tests.servers.control_plane import ServedControlPlane, served_control_plane
from tests.servers.memory_origin import MemoryOrigin
from tests.servers.postgres_cluster import PostgresCluster


@pytest.fixture
async def http(control: ServedControlPlane) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=control.url, trust_env=False) as http:
        yield http


async def said(http: httpx2.AsyncClient) -> dict[str, tuple[int, str]]:
    answers = {path: await http.get(path) for path in ("/healthz", "/readyz")}
    return {path: (answer.status_code, answer.text) for path, answer in answers.items()}


async def test_all_is_well(http: httpx2.AsyncClient) -> None:
    assert await said(http) == {"/healthz": (200, "ok\n"), "/readyz": (200, "ok\n")}


async def test_a_clock_that_stopped_wants_a_restart(control: ServedControlPlane, http: httpx2.AsyncClient) -> None:
    """Without it leases would never expire, and everything else would look well."""
    for clock in control.plane.clocks:
        assert not clock.done()
    clock = control.plane.clocks[0]
    clock.cancel()
    await asyncio.wait({clock})
    assert await said(http) == {"/healthz": (500, "broken\n"), "/readyz": (503, "broken\n")}


async def test_a_database_that_does_not_answer(
    tmp_path: Path, origin: MemoryOrigin, postgres: PostgresCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is there, takes connections and says nothing: nobody waits for it longer than a probe would. SQLite lets who
    reads read whatever is written."""
    monkeypatch.setattr(status, "READY_WITHIN", 0.3)
    async with (
        served_control_plane(tmp_path / "state", origin, postgres.new_database()) as control,
        httpx2.AsyncClient(base_url=control.url, trust_env=False) as http,
    ):
        async with control.plane.database.transaction() as session:
            await session.execute(text("LOCK TABLE meta IN ACCESS EXCLUSIVE MODE"))
            assert await said(http) == {"/healthz": (200, "ok\n"), "/readyz": (503, "not ready\n")}
        assert (await said(http))["/readyz"] == (200, "ok\n")
