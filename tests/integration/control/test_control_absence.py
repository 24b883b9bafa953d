"""Sessions that break without a goodbye, and a control plane that is started again, over real WebSockets."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from random import Random

import msgspec

from modeldist.artifact import Digest
from modeldist.scheduler.messages import (
    HeldLease,
    JoinTasks,
    LeaseGranted,
    LeaseRequest,
    LeaseRevoked,
    Report,
    TaskJoin,
    TaskJoined,
)
from modeldist.scheduler.phase1 import Phase1, Phase1Config
from tests.servers.control_plane import ServedControlPlane, served_control_plane
from tests.servers.memory_origin import MemoryOrigin
from tests.servers.scripted_agent import PATIENCE, ScriptedAgent, scripted_agent

TASK = Digest("sha256:" + "ab" * 32)
MIB = 1 << 20
JOIN = TaskJoin(TASK, 4 * MIB, "registry.example", piece_size=MIB)


async def reading(agent: ScriptedAgent) -> LeaseGranted:
    await agent.send(JoinTasks((JOIN,)))
    await agent.send(Report(1))
    await agent.send(LeaseRequest(TASK, 1))
    return await agent.expect(LeaseGranted)


def leases(served: ServedControlPlane) -> dict[int, str]:
    """lease -> node"""
    view = served.plane.scheduler.task(TASK, time.monotonic())
    return {lease.lease: lease.node for lease in view.leases} if view is not None else {}


async def come_back(agent: ScriptedAgent, *held: HeldLease) -> None:
    await agent.send(JoinTasks((msgspec.structs.replace(JOIN, leases=held),)))
    await agent.expect(TaskJoined)
    await agent.send(Report(1))


async def test_a_reset_connection_takes_no_lease_away(control: ServedControlPlane) -> None:
    ws, token = control.ws, control.agent_token
    async with scripted_agent(ws, token, "a") as agent:
        lease = await reading(agent)
        agent.connection.transport.abort()
    async with scripted_agent(ws, token, "a") as agent:
        assert leases(control) == {lease.lease: "a"}
        await come_back(agent, HeldLease(lease.lease, lease.start, lease.count))
        await agent.send(LeaseRequest(TASK, 4))
        message = await agent.receive()
        while not isinstance(message, LeaseGranted):
            assert not isinstance(message, LeaseRevoked)
            message = await agent.receive()
        assert message.start != lease.start
        assert leases(control)[lease.lease] == "a"


async def test_a_process_that_is_gone_is_missed_after_a_while(control: ServedControlPlane) -> None:
    async with scripted_agent(control.ws, control.agent_token, "a") as agent:
        await reading(agent)
        agent.connection.transport.abort()
    async with asyncio.timeout(PATIENCE):
        while leases(control):
            await asyncio.sleep(0.02)


async def test_a_restarted_control_plane_takes_over_what_is_being_read(
    tmp_path: Path, origin: MemoryOrigin, database_url: str
) -> None:
    """A newcomer that asks first is granted nothing before the node that was there has spoken."""
    patient = Phase1(Phase1Config(return_grace=PATIENCE), Random())
    async with (
        served_control_plane(tmp_path / "state", origin, database_url) as before,
        scripted_agent(before.ws, before.agent_token, "a") as agent,
    ):
        lease = await reading(agent)
    async with (
        served_control_plane(tmp_path / "state", origin, database_url, scheduler=patient) as after,
        scripted_agent(after.ws, after.agent_token, "new") as new,
    ):
        await new.send(JoinTasks((JOIN,)))
        await new.send(LeaseRequest(TASK, 4))
        await new.expect(TaskJoined)
        assert leases(after) == {}
        async with scripted_agent(after.ws, after.agent_token, "a") as agent:
            await come_back(agent, HeldLease(lease.lease, lease.start, lease.count))
            granted = await new.expect(LeaseGranted)
            assert lease.start not in range(granted.start, granted.start + granted.count)
            assert leases(after)[lease.lease] == "a"
