"""Rollouts over REST: agents are told in waves, and a control plane that starts again goes on."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from modeldist.client import AsyncClient
from modeldist.control.rollouts.book import LOOKED
from modeldist.control.views import RolloutView
from modeldist.errors import (
    AgentError,
    ModeldistError,
    NotFound,
    OriginUnavailable,
    RolloutUnderWay,
    StoreDamaged,
    Unsupported,
)
from modeldist.session.messages import PullProgress, StartPull, Update, UpdateProgress
from tests.servers.control_plane import ServedControlPlane, served_control_plane
from tests.servers.memory_origin import MemoryOrigin
from tests.servers.scripted_agent import PATIENCE, ScriptedAgent, scripted_agent

REFERENCE = "memory://org/model:v1"
QUICK = {"waves": [100], "health": 0.0}


async def updatable(stack: AsyncExitStack, control: ServedControlPlane, node: str) -> ScriptedAgent:
    return await stack.enter_async_context(scripted_agent(control.ws, control.agent_token, node, updates=True))


async def settled(client: AsyncClient, rollout: str) -> RolloutView:
    async with asyncio.timeout(PATIENCE):
        while (found := await client.get_rollout(rollout)).state not in ("done", "failed", "aborted"):
            await asyncio.sleep(0.02)
    return found


async def test_nodes_are_told_in_turn(control: ServedControlPlane) -> None:
    async with AsyncExitStack() as stack, control.client(control.admin_token) as client:
        a, b = await updatable(stack, control, "a"), await updatable(stack, control, "b")
        await stack.enter_async_context(scripted_agent(control.ws, control.agent_token, "old"))
        rollout = await client.create_rollout(REFERENCE, "all", drain=7.0, **QUICK)
        told = await a.expect(Update)
        assert (told.rollout, told.back, told.drain) == (rollout.id, False, 7.0)
        with pytest.raises(RolloutUnderWay):
            await client.create_rollout(REFERENCE, "all")
        assert [one.id for one in (await client.list_rollouts()).rollouts] == [rollout.id]
        await a.send(UpdateProgress(rollout.id, "up", "0.2.0"))
        assert (await b.expect(Update)).rollout == rollout.id
        await b.send(UpdateProgress(rollout.id, "kept", "0.2.0"))
        ended = await settled(client, rollout.id)
        assert (ended.state, ended.version, ended.states) == ("done", "0.2.0", {"done": 2, "refused": 1})
        (refused,) = [one for one in ended.nodes if one.state == "refused"]
        assert refused.node == "old" and refused.error is not None and "cannot update itself" in refused.error.message


async def test_one_that_fails_has_all_go_back(control: ServedControlPlane) -> None:
    async with AsyncExitStack() as stack, control.client(control.admin_token) as client:
        a, b = await updatable(stack, control, "a"), await updatable(stack, control, "b")
        rollout = await client.create_rollout(REFERENCE, ["a", "b"], **QUICK)
        await a.expect(Update)
        await a.send(UpdateProgress(rollout.id, "up", "0.2.0"))
        await b.expect(Update)
        await b.send(UpdateProgress(rollout.id, "gone_back", "0.1.0", error=AgentError("It crashed.").info()))
        assert (await a.expect(Update)).back
        await a.send(UpdateProgress(rollout.id, "gone_back", "0.1.0"))
        ended = await settled(client, rollout.id)
        assert (ended.state, ended.states) == ("failed", {"gone_back": 1, "failed": 1})
        assert ended.reason == "node b failed: It crashed."
        assert (await client.abort_rollout(rollout.id)).state == "failed"


@pytest.mark.parametrize(("error", "state"), [(OriginUnavailable, "running"), (StoreDamaged, "failed")])
async def test_what_an_origin_does_is_no_versions_fault(
    error: type[ModeldistError], state: str, control: ServedControlPlane
) -> None:
    async with AsyncExitStack() as stack, control.client(control.admin_token) as client:
        a, b = await updatable(stack, control, "a"), await updatable(stack, control, "b")
        rollout = await client.create_rollout(REFERENCE, ["a", "b"], health=600.0)
        await a.expect(Update)
        await a.send(UpdateProgress(rollout.id, "up", "0.2.0"))
        for agent, node, said in ((b, "b", "done"), (a, "a", "failed")):
            made = await client.create_pull(REFERENCE, [node])
            await agent.expect(StartPull)
            await agent.send(PullProgress(made.id, said, error=error("x").info() if said == "failed" else None))
            async with asyncio.timeout(PATIENCE):
                await client.wait(made.id, check=False)
        if state == "failed":
            assert (await a.expect(Update)).back
            await a.send(UpdateProgress(rollout.id, "gone_back", "0.1.0"))
            await settled(client, rollout.id)
        assert (await client.get_rollout(rollout.id)).state == state


async def test_a_control_plane_that_starts_again_goes_on(tmp_path: Path) -> None:
    origin = MemoryOrigin()
    origin.add(REFERENCE, {"config.json": b"{}"})
    async with (
        served_control_plane(tmp_path / "state", origin) as control,
        control.client() as client,
        scripted_agent(control.ws, control.agent_token, "a", updates=True) as a,
    ):
        rollout = await client.create_rollout(REFERENCE, "all", **QUICK)
        await a.expect(Update)
    async with (
        served_control_plane(tmp_path / "state", origin) as control,
        control.client() as client,
        scripted_agent(control.ws, control.agent_token, "a", updates=True) as again,
    ):
        assert (await again.expect(Update)).rollout == rollout.id, "it may not have heard it"
        await again.send(UpdateProgress(rollout.id, "up", "0.2.0"))
        assert (await settled(client, rollout.id)).state == "done"
        assert (await client.abort_rollout(rollout.id)).state == "done"


async def test_a_clock_that_is_set_has_nobody_go_back(tmp_path: Path) -> None:
    origin = MemoryOrigin()
    origin.add(REFERENCE, {"config.json": b"{}"})
    set_ahead = 0.0
    async with (
        served_control_plane(tmp_path / "state", origin, now=lambda: time.time() + set_ahead) as control,
        control.client() as client,
        scripted_agent(control.ws, control.agent_token, "a", updates=True) as a,
    ):
        rollout = await client.create_rollout(REFERENCE, "all", **QUICK)
        await a.expect(Update)
        set_ahead = 86_400.0
        await asyncio.sleep(3 * LOOKED)
        assert (await client.get_rollout(rollout.id)).state == "running"
        await a.send(UpdateProgress(rollout.id, "up", "0.2.0"))
        assert (await settled(client, rollout.id)).state == "done"


async def test_what_cannot_be_rolled_out(control: ServedControlPlane) -> None:
    async with AsyncExitStack() as stack, control.client(control.admin_token) as client:
        with pytest.raises(NotFound, match="No node is connected"):
            await client.create_rollout(REFERENCE, "all")
        with pytest.raises(NotFound, match="no rollout"):
            await client.get_rollout("nothing")
        a = await updatable(stack, control, "a")
        with pytest.raises(Unsupported, match=r"modeldist launch|one after the other"):
            await client.create_rollout(REFERENCE, "all", control_plane=True)
        rollout = await client.create_rollout(REFERENCE, "all")
        await a.expect(Update)
        assert (await client.abort_rollout(rollout.id)).state == "going_back"
        assert (await a.expect(Update)).back
        await a.send(UpdateProgress(rollout.id, "gone_back", "0.1.0"))
        assert (await settled(client, rollout.id)).state == "aborted"
