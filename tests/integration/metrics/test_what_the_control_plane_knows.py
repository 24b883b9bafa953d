"""What the control plane says of agents that do as the test says: how old its knowledge is, what was read in vain."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from modeldist.artifact import Digest
from modeldist.control.metrics.collector import SHOWN_TASKS
from modeldist.control.metrics.requests import METHODS
from modeldist.scheduler.messages import (
    JoinTasks,
    LeaseGranted,
    LeaseRequest,
    PieceDigest,
    Report,
    TaskJoin,
    TaskJoined,
    TaskReport,
)
from tests.servers.control_plane import ServedControlPlane, served_control_plane
from tests.servers.memory_origin import MemoryOrigin
from tests.servers.scripted_agent import PATIENCE, scripted_agent

TASK = Digest("sha256:" + "a" * 64)
SIZE = 64 << 20
SMALL = 1 << 18  # one piece

Samples = dict[tuple[str, tuple[str, ...]], float]


async def scraped(plane: ServedControlPlane, token: str) -> Samples:
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, trust_env=False) as http:
        text = (await http.get(f"{plane.url}/metrics")).text
    return {
        (sample.name.removeprefix("modeldist_server_"), tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def until(plane: ServedControlPlane, token: str, says: Callable[[Samples], bool]) -> Samples:
    async with asyncio.timeout(PATIENCE):
        while not says(found := await scraped(plane, token)):
            await asyncio.sleep(0.05)
    return found


async def test_load_and_leases(tmp_path: Path) -> None:
    async with served_control_plane(tmp_path, MemoryOrigin()) as plane:
        token = await plane.read_token()
        nobody = await scraped(plane, token)
        assert nobody["agents", ()] == nobody["load_unknown", ()] == nobody["lease_age_seconds", ()] == 0
        assert ("load_age_seconds", ("1",)) not in nobody
        async with (
            scripted_agent(plane.ws, plane.agent_token, "reads") as agent,
            scripted_agent(plane.ws, plane.agent_token, "says nothing"),
        ):
            await agent.send(JoinTasks((TaskJoin(TASK, SIZE, "origin.example"),)))
            await agent.send(Report(1))
            known = await until(plane, token, lambda now: ("load_age_seconds", ("1",)) in now)
            assert (known["agents", ()], known["load_unknown", ()]) == (2, 1)
            await agent.send(LeaseRequest(TASK, 4))
            await agent.expect(LeaseGranted)
            granted = await until(plane, token, lambda now: now["leases", ()] > 0)
            older = await until(
                plane, token, lambda now: now["lease_age_seconds", ()] > granted["lease_age_seconds", ()]
            )
            assert older["lease_idle_seconds", ()] >= older["lease_age_seconds", ()] > 0  # it reads nothing
            assert older["load_age_seconds", ("1",)] > known["load_age_seconds", ("1",)]
            await until(plane, token, lambda now: now["load_unknown", ()] == 2)
        gone = await until(plane, token, lambda now: now["agents", ()] == 0)
        assert gone["load_unknown", ()] == 0


async def test_what_was_read_and_is_lost(tmp_path: Path) -> None:
    async with served_control_plane(tmp_path, MemoryOrigin()) as plane:
        token = await plane.read_token()
        async with scripted_agent(plane.ws, plane.agent_token, "stays") as stays:
            await stays.send(JoinTasks((TaskJoin(TASK, SIZE, "origin.example"),)))
            await stays.send(Report(1))
            async with scripted_agent(plane.ws, plane.agent_token, "goes") as goes:
                await goes.send(JoinTasks((TaskJoin(TASK, SIZE, "origin.example"),)))
                piece = (await goes.expect(TaskJoined)).piece_size
                await goes.send(Report(1))
                await goes.send(LeaseRequest(TASK, 1))
                lease = await goes.expect(LeaseGranted)
                read = tuple(PieceDigest(lease.start + n, bytes(32)) for n in range(lease.count))
                await goes.send(Report(2, tasks=(TaskReport(TASK, verified=read),)))
                held = await until(plane, token, lambda now: now["origin_bytes", ()] > 0)
                assert held["origin_bytes", ()] == held["held_bytes", ()] == lease.count * piece
                assert (held["task_origin_ratio", (TASK,)], held["excess_bytes", ()]) == (1, 0)
            lost = await until(plane, token, lambda now: now["held_bytes", ()] == 0)
            assert lost["excess_bytes", ()] == lost["origin_bytes", ()] == lease.count * piece


async def test_series_do_not_grow_with_tasks_or_with_what_strangers_ask(tmp_path: Path) -> None:
    async with served_control_plane(tmp_path, MemoryOrigin()) as plane:
        token = await plane.read_token()
        tasks = [Digest(f"sha256:{number:064x}") for number in range(SHOWN_TASKS + 5)]
        async with scripted_agent(plane.ws, plane.agent_token, "reads") as agent:
            await agent.send(JoinTasks(tuple(TaskJoin(task, SMALL, "origin.example") for task in tasks)))
            await agent.send(Report(1))
            for number, task in enumerate(tasks):
                await agent.send(LeaseRequest(task, 1))
                lease = await agent.expect(LeaseGranted)
                read = (PieceDigest(lease.start, bytes(32)),)
                await agent.send(Report(number + 2, tasks=(TaskReport(lease.task, verified=read),)))
            await until(plane, token, lambda now: now["held_bytes", ()] == len(tasks) * SMALL)
            found = await scraped(plane, token)
        assert found["tasks", ()] == len(tasks)
        assert sum(name == "task_origin_ratio" for name, _ in found) == SHOWN_TASKS
        async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, trust_env=False) as http:
            for number in range(5):
                await http.request(f"BREW{number}", f"{plane.url}/api/v1/status")
                await http.get(f"{plane.url}/api/v1/nothing/{number}")
        asked = {labels for name, labels in await scraped(plane, token) if name == "http_requests_total"}
        assert {method for method, _, _ in asked} <= {*METHODS, "other"}
        assert not any(route.startswith("/api/v1/nothing") for _, route, _ in asked)


async def test_the_longest_pull(tmp_path: Path) -> None:
    clock = 1e9
    async with served_control_plane(tmp_path, MemoryOrigin(), now=lambda: clock) as plane:
        token = await plane.read_token()
        assert (await scraped(plane, token))["pull_age_seconds", ()] == 0
        async with plane.client() as client:
            await client.create_pull("memory://org/model:v1", "all")
            clock += 40
            await client.create_pull("memory://org/model:v2", "all")
        said = await scraped(plane, token)
        assert (said["pulls", ()], said["pull_age_seconds", ()]) == (2, 40)
