"""A control plane with something of everything: a model, nodes that answer, a shard task, a pull, a preheat job."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx2
from websockets.exceptions import ConnectionClosed

from modeldist.errors import NotFound
from modeldist.scheduler.messages import TaskJoin
from modeldist.session.messages import (
    JoinTasks,
    PullProgress,
    StartPull,
    StoreAnswer,
    StoreCommand,
    TaskJoined,
    decode_from_control,
)
from tests.servers.control_plane import ServedControlPlane, served_control_plane
from tests.servers.memory_origin import MemoryOrigin
from tests.servers.scripted_agent import ScriptedAgent, scripted_agent

REFERENCE = "memory://org/model:v1"
NODES = ("node-1", "node-2")
PREHEAT = {"type": "preheat", "args": {"type": "image", "url": "https://r.example/v2/org/model/manifests/v1"}}


@asynccontextmanager
async def inhabited_control_plane(state_dir: Path, database_url: str = "") -> AsyncIterator[ServedControlPlane]:
    """Its agents end each pull at once, every third with an error."""
    origin = MemoryOrigin()
    model = origin.add(REFERENCE, {"config.json": b"{}", "model.safetensors": b"x" * 1000})
    async with AsyncExitStack() as stack:
        served = await stack.enter_async_context(served_control_plane(state_dir, origin, database_url))
        for node in NODES:
            agent = await stack.enter_async_context(
                scripted_agent(served.ws, served.agent_token, node, labels={"gpu": "h100"}, artifacts=(model.digest,))
            )
            await agent.send(JoinTasks(tuple(TaskJoin(file.digest, file.size, "memory") for file in model.files)))
            await agent.expect(TaskJoined)
            answering = asyncio.create_task(_answer(agent))
            stack.push_async_callback(_stop, answering)
        async with httpx2.AsyncClient(
            base_url=served.url, headers={"Authorization": f"Bearer {served.admin_token}"}, trust_env=False
        ) as http:
            for path, body in (
                ("/api/v1/resolve", {"reference": REFERENCE}),
                ("/api/v1/pulls", {"reference": REFERENCE, "nodes": "all"}),
                ("/api/v1/rollouts", {"release": REFERENCE, "nodes": "all"}),
                ("/oapi/v1/jobs", PREHEAT),
                ("/preheats", PREHEAT["args"]),
            ):
                (await http.post(path, json=body)).raise_for_status()
        yield served


async def _answer(agent: ScriptedAgent) -> None:
    answered = 0
    while True:
        try:
            frame = await agent.connection.recv()
        except ConnectionClosed:
            return
        assert isinstance(frame, bytes)
        asked = decode_from_control(frame)
        if isinstance(asked, StoreCommand):
            await agent.send(StoreAnswer(asked.request, bytes_freed=1000))
        if not isinstance(asked, StartPull):
            continue
        answered += 1
        if answered % 3:
            await agent.finish(asked)
        else:
            await agent.send(PullProgress(asked.pull, "failed", error=NotFound(f"{asked.reference}: gone.").info()))


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
