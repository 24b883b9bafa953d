"""Deadlines of pulls, on a clock that the test sets."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import httpx2
import pytest

from modeldist.errors import UsageError
from modeldist.session.messages import CancelPull, PullProgress, StartPull
from tests.servers.control_plane import ServedControlPlane, served_control_plane
from tests.servers.followed_pulls import ended, reached
from tests.servers.memory_origin import MemoryOrigin
from tests.servers.scripted_agent import scripted_agent

REFERENCE = "memory://org/model:v1"
START = 1_700_000_000.0


class Clock:
    """Seconds since the epoch; stands still until it is set."""

    def __init__(self) -> None:
        self.time = START

    def __call__(self) -> float:
        return self.time


def after(seconds: float) -> datetime:
    return datetime.fromtimestamp(START + seconds, UTC)


async def test_a_pull_ends_at_its_deadline(tmp_path: Path, origin: MemoryOrigin, database_url: str) -> None:
    clock = Clock()
    async with (
        served_control_plane(tmp_path / "state", origin, database_url, now=clock) as control,
        control.client() as client,
        scripted_agent(control.ws, control.agent_token, "a") as a,
        scripted_agent(control.ws, control.agent_token, "b") as b,
    ):
        made = await client.create_pull(REFERENCE, "all", deadline=after(3600))
        assert made.deadline == START + 3600
        patient = await client.create_pull(REFERENCE, "all", deadline=after(3601))
        endless = await client.create_pull(REFERENCE, "all")
        await a.finish(await a.expect(StartPull))
        await b.send(PullProgress((await b.expect(StartPull)).pull, "pulling", bytes_total=100, bytes_origin=7))
        await reached(client, made.id, {"done": 1, "pulling": 1})
        clock.time += 3600
        late = await ended(client, made.id)
        assert (late.state, late.states, late.finished_at) == ("failed", {"done": 1, "failed": 1}, START + 3600)
        [failed] = [node for node in late.nodes if node.state == "failed"]
        assert failed.node == "b"
        assert failed.bytes.origin == 7
        assert failed.error is not None
        assert failed.error.code == "deadline_exceeded"
        assert REFERENCE in failed.error.message
        assert await b.expect(CancelPull) == CancelPull(made.id)
        # It goes on all the same, and is told again; what it says changes nothing any more.
        await b.send(PullProgress(made.id, "pulling"))
        assert await b.expect(CancelPull) == CancelPull(made.id)
        assert await client.get_pull(made.id) == late
        assert (await client.get_pull(patient.id)).state == "running"
        clock.time += 1
        assert (await ended(client, patient.id)).state == "failed"
        clock.time += 1e9
        assert (await client.get_pull(endless.id)).state == "running"


async def test_a_deadline_outlives_a_restart(tmp_path: Path, origin: MemoryOrigin, database_url: str) -> None:
    clock = Clock()
    state = tmp_path / "state"
    async with served_control_plane(state, origin, database_url, now=clock) as before, before.client() as client:
        made = await client.create_pull(REFERENCE, deadline=after(60), idempotency_key="k")
    clock.time += 120
    async with served_control_plane(state, origin, database_url, now=clock) as again, again.client() as client:
        late = await ended(client, made.id)
        assert (late.state, late.deadline, late.nodes) == ("failed", START + 60, [])
        # The same request still means the same pull, though its deadline has passed.
        assert await client.create_pull(REFERENCE, deadline=after(60), idempotency_key="k") == late
        with pytest.raises(UsageError, match="belongs to another request"):
            await client.create_pull(REFERENCE, deadline=after(600), idempotency_key="k")
        with pytest.raises(UsageError, match="deadline has passed"):
            await client.create_pull(REFERENCE, deadline=after(60))


async def test_deadlines_that_cannot_be_read(sqlite_control: ServedControlPlane) -> None:
    headers = {"Authorization": f"Bearer {sqlite_control.admin_token}"}
    async with httpx2.AsyncClient(base_url=sqlite_control.url, headers=headers, trust_env=False) as http:
        for deadline in ("soon", "2099-13-01T00:00:00Z", "2099-01-01T00:00:00", "2099-01-01", "4102444800", 4102444800):
            body = {"reference": REFERENCE, "nodes": "all", "deadline": deadline}
            answer = await http.post("/api/v1/pulls", json=body)
            assert (answer.status_code, answer.json()["code"]) == (422, "usage"), deadline
            assert answer.json()["detail"].startswith("body.deadline: ")
        body["deadline"] = "2099-01-01T02:00:00+02:00"
        made = (await http.post("/api/v1/pulls", json=body)).json()
    assert made["deadline"] == 4070908800
