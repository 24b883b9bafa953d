"""Embedded mode's control plane: a ControlLink without a server."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time

import pytest

from modeldist.artifact import Digest
from modeldist.control.inprocess import InProcessControl, InProcessSession
from modeldist.errors import ControlPlaneRefused, ControlPlaneUnreachable
from modeldist.scheduler.messages import JoinTasks, LeaseGranted, LeaseRequest, TaskJoin, TaskJoined
from modeldist.session.link import ControlLink, Session
from modeldist.session.messages import PROTOCOL, FromControl, Hello, Resolve, Resolved
from tests.servers.memory_origin import MemoryOrigin

REFERENCE = "memory://org/model:v1"
HELLO = Hello(PROTOCOL, "here", "here", "0.1.0", "")


def conforms(link: InProcessControl) -> ControlLink:
    """Holds it to the protocol: a type checker reads this line."""
    return link


async def expect(session: Session, kind: type) -> FromControl:
    async with asyncio.timeout(10):
        async for message in session.receive():
            if isinstance(message, kind):
                return message
    raise AssertionError(f"the session ended without {kind.__name__}")


async def test_a_model_from_reference_to_lease() -> None:
    origin = MemoryOrigin()
    artifact = origin.add(REFERENCE, {"model.safetensors": b"x" * 10})
    link = InProcessControl(origin, time.monotonic)
    async with link.open(HELLO) as session:
        assert session.welcome.capability_key == b""
        await session.send(Resolve(1, REFERENCE))
        assert await expect(session, Resolved) == Resolved(1, artifact)
        shard = artifact.shards[0]
        await session.send(JoinTasks((TaskJoin(shard.digest, shard.size, "memory"),)))
        joined = await expect(session, TaskJoined)
        assert isinstance(joined, TaskJoined)
        assert joined.capability == b""
        await session.send(LeaseRequest(shard.digest, 1))
        lease = await expect(session, LeaseGranted)
        assert isinstance(lease, LeaseGranted)
        assert (lease.start, lease.count) == (0, 1)
    assert link.core.sessions == {}
    assert [message async for message in session.receive()] == []
    with pytest.raises(ControlPlaneUnreachable, match="closed by the agent"):
        await session.send(Resolve(2, REFERENCE))


async def test_a_model_that_is_here_costs_one_head() -> None:
    origin = MemoryOrigin()
    artifact = origin.add(REFERENCE, {"model.safetensors": b"x"})
    held = {artifact.digest: artifact}
    async with InProcessControl(origin, time.monotonic, held=held.get).open(HELLO) as session:
        await session.send(Resolve(1, REFERENCE, artifact.digest))
        assert await expect(session, Resolved) == Resolved(1, None)
        await session.send(Resolve(2, artifact.reference, Digest("sha256:" + "0" * 64)))
        assert await expect(session, Resolved) == Resolved(2, artifact)
    assert origin.requests == {f"still {REFERENCE}": 1, f"resolve {artifact.reference}": 1}


async def test_several_engines_share_one_process() -> None:
    origin = MemoryOrigin()
    origin.add(REFERENCE, {"model.safetensors": b"x"})
    link = InProcessControl(origin, time.monotonic, tick_interval=0.001)
    other = Hello(PROTOCOL, "there", "there", "0.1.0", "")
    async with link.open(HELLO) as a, link.open(other) as b:
        for session in (a, b):
            await session.send(Resolve(1, REFERENCE))
        for session in (a, b):
            await expect(session, Resolved)
    assert origin.requests == {f"resolve {REFERENCE}": 1}
    async with link.open(HELLO) as again:  # and again after the last one closed
        await again.send(Resolve(1, REFERENCE))
        await expect(again, Resolved)


async def test_breaking_the_protocol_ends_the_session() -> None:
    link = InProcessControl(MemoryOrigin(), time.monotonic)
    async with link.open(HELLO) as session:
        assert isinstance(session, InProcessSession)
        await session.send(HELLO)
        assert [message async for message in session.receive()] == []
        with pytest.raises(ControlPlaneUnreachable, match="greeted twice"):
            await session.send(Resolve(1, REFERENCE))
    with pytest.raises(ControlPlaneRefused):
        async with link.open(Hello(PROTOCOL + 1, "here", "here", "9", "")):
            pass


def test_it_imports_neither_a_web_framework_nor_a_database() -> None:
    heavy = ("fastapi", "starlette", "pydantic", "sqlalchemy", "alembic", "uvicorn", "httpx2", "structlog")
    program = (
        "import sys, modeldist.control.inprocess, modeldist.scheduler.phase1\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
