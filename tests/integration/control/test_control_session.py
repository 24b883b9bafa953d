"""What an agent's session survives and what ends it, over real WebSockets."""

from __future__ import annotations

import asyncio
import tracemalloc
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from modeldist.client import AsyncClient
from modeldist.control import core as core_module
from modeldist.control.store.tokens import Token, Tokens
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
from modeldist.session.messages import PROTOCOL, Inventory, Refused, Resolve, Resolved, ResolveFailed, Welcome, encode
from modeldist.transfer.capability import CapabilityChecker
from modeldist.transfer.cluster_time import LearnedTime
from tests.servers.control_plane import ServedControlPlane, served_control_plane
from tests.servers.memory_origin import MemoryOrigin
from tests.servers.raw_agent import frame, raw_agent
from tests.servers.scripted_agent import PATIENCE, hello, open_socket, scripted_agent

REFERENCE = "memory://org/model:v1"
MIB = 1 << 20


async def agents(client: AsyncClient, wanted: int) -> None:
    """Wait until so many agents are connected."""
    async with asyncio.timeout(PATIENCE):
        while (await client.status()).agents != wanted:
            await asyncio.sleep(0.01)


async def test_resolving(sqlite_control: ServedControlPlane, origin: MemoryOrigin) -> None:
    async with scripted_agent(sqlite_control.ws, sqlite_control.agent_token, "a") as agent:
        assert agent.welcome is not None
        assert agent.welcome.cluster == sqlite_control.plane.cluster
        assert agent.welcome.report_interval == pytest.approx(0.25)
        await agent.send(Resolve(1, REFERENCE))
        resolved = await agent.expect(Resolved)
        assert resolved.artifact is not None
        await agent.send(Resolve(2, REFERENCE, resolved.artifact.digest))
        assert await agent.expect(Resolved) == Resolved(2, None)
        await agent.send(Resolve(3, "memory://org/none:v1"))
        failed = await agent.expect(ResolveFailed)
        assert (failed.request, failed.error.code) == (3, "not_found")
    assert origin.requests == {
        f"resolve {REFERENCE}": 1,
        f"still {REFERENCE}": 1,
        "resolve memory://org/none:v1": 1,
    }


async def test_a_task_from_join_to_origin_bytes(control: ServedControlPlane) -> None:
    task, size = "sha256:" + "ab" * 32, 4 * MIB
    join = JoinTasks((TaskJoin(task, size, "registry.example"),))  # type: ignore[arg-type]
    async with control.client() as client, scripted_agent(control.ws, control.agent_token, "a") as agent:
        await agent.send(join)
        joined = await agent.expect(TaskJoined)
        assert agent.welcome is not None
        learned = LearnedTime()
        learned.learn(agent.welcome.now)
        opens = CapabilityChecker(agent.welcome.capability_key, learned)
        assert opens(joined.capability, "a", joined.task)
        assert not opens(joined.capability, "b", joined.task)
        await agent.send(LeaseRequest(joined.task, 4))
        lease = await agent.expect(LeaseGranted)
        verified = tuple(PieceDigest(lease.start + n, bytes(32)) for n in range(lease.count))
        read = {lease.lease: lease.count * joined.piece_size}
        await agent.send(Report(1, tasks=(TaskReport(joined.task, verified=verified, lease_bytes=read),)))
        async with asyncio.timeout(PATIENCE):
            while (await client.get_task(task)).origin_bytes == 0:
                await asyncio.sleep(0.01)
        seen = await client.get_task(task)
        assert (seen.size, seen.nodes, seen.origin) == (size, 1, "registry.example")
        assert seen.ratio == 1.0
        assert seen.held == seen.origin_bytes == seen.members[0].bytes_origin
        assert [listed.digest for listed in (await client.list_tasks()).tasks] == [task]
        assert (await client.status()).tasks == 1
        traffic = (await client.get_node("a")).traffic
        assert traffic is not None
        assert traffic.tasks == 1
    async with control.client() as client:
        await agents(client, 0)
        assert (await client.list_tasks()).tasks == []


async def test_another_protocol_is_refused_with_a_remedy(sqlite_control: ServedControlPlane) -> None:
    for protocol, older in ((PROTOCOL + 1, "control plane"), (PROTOCOL - 1, "agent")):
        async with open_socket(sqlite_control.ws, sqlite_control.agent_token) as agent:
            await agent.send(hello("a", protocol=protocol))
            refused = await agent.expect(Refused)
            assert refused.error.code == "control_refused"
            assert refused.error.remedy == f"Upgrade the {older}."
            assert (await agent.closed())[0] == 1008


async def test_a_newer_agent_speaks_the_protocol_of_the_control_plane(sqlite_control: ServedControlPlane) -> None:
    async with open_socket(sqlite_control.ws, sqlite_control.agent_token) as agent:
        await agent.send(hello("a", protocol=PROTOCOL + 1, oldest=PROTOCOL))
        assert (await agent.expect(Welcome)).protocol == PROTOCOL


async def test_a_newer_session_replaces_the_older(sqlite_control: ServedControlPlane) -> None:
    ws, token = sqlite_control.ws, sqlite_control.agent_token
    async with scripted_agent(ws, token, "a") as old, scripted_agent(ws, token, "a", name="again") as new:
        assert await old.closed() == (1001, "replaced by a newer session of the same node")
        async with sqlite_control.client() as client:
            assert (await client.status()).agents == 1
            assert (await client.get_node("a")).name == "again"
        await new.send(Resolve(1, REFERENCE))
        await new.expect(Resolved)


JOIN_OUT_OF_BOUNDS = JoinTasks((TaskJoin("sha256:" + "0" * 64, 1 << 60, "o"),))  # type: ignore[arg-type]
MALFORMED = {
    "empty": (b"", 1007),
    "no msgpack": (b"\xc1", 1007),
    "not a message": (msgspec.msgpack.encode({"t": "no such message"}), 1007),
    "a message of the control plane": (encode(Welcome(1, "c", 1.0, b"")), 1007),
    "fields of other types": (msgspec.msgpack.encode({"t": "resolve", "request": "x", "reference": 3}), 1007),
    "deep nesting": (b"\x91" * 10_000 + b"\x90", 1007),
    "text": ("hello", 1003),
    "a second greeting": (encode(hello("a")), 1008),
    "a shard without end": (encode(JOIN_OUT_OF_BOUNDS), 1008),
}


@pytest.mark.parametrize("frame", MALFORMED)
async def test_bad_frames_close_with_a_reason(sqlite_control: ServedControlPlane, frame: str) -> None:
    data, code = MALFORMED[frame]
    async with scripted_agent(sqlite_control.ws, sqlite_control.agent_token, "a") as agent:
        await agent.connection.send(data)
        closed, reason = await agent.closed()
        assert (closed, bool(reason)) == (code, True)
    # Before the greeting too; and the next agent is served.
    async with open_socket(sqlite_control.ws, sqlite_control.agent_token) as agent:
        await agent.connection.send(encode(Inventory(())) if frame == "a second greeting" else data)
        assert (await agent.closed())[0] in (1003, 1007, 1008)
    async with scripted_agent(sqlite_control.ws, sqlite_control.agent_token, "b"):
        pass


async def test_a_message_in_many_fragments(sqlite_control: ServedControlPlane) -> None:
    asks = encode(Resolve(1, REFERENCE))
    async with scripted_agent(sqlite_control.ws, sqlite_control.agent_token, "a") as agent:
        await agent.connection.send([b"", *(asks[at : at + 1] for at in range(len(asks))), b""])
        await agent.expect(Resolved)
        await agent.connection.send(["hel", "lo"])
        assert (await agent.closed())[0] == 1003


async def test_fragments_take_no_more_than_their_bytes(sqlite_control: ServedControlPlane) -> None:
    many = 50_000
    reader, writer = await raw_agent(sqlite_control.url, sqlite_control.agent_token, "a")
    begins, goes_on, ping = b"\x02\x80" + bytes(4), b"\x00\x82" + bytes(4) + b"ab", b"\x89\x84" + bytes(4) + b"sign"
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        writer.write(begins + goes_on * many + ping)
        async with asyncio.timeout(PATIENCE):
            await reader.readuntil(b"\x8a\x04sign")
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
        writer.transport.abort()
    assert taken < 8 * 2 * many


async def test_who_speaks_before_the_handshake_is_answered_is_cut_off(
    sqlite_control: ServedControlPlane, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As while the database is slow to say whose a token is. The log has who it was, and no traceback."""
    asked, answers, verify = asyncio.Event(), asyncio.Event(), Tokens.verify

    async def slow(tokens: Tokens, token: str) -> Token | None:
        asked.set()
        await answers.wait()
        return await verify(tokens, token)

    monkeypatch.setattr(Tokens, "verify", slow)
    host, port = sqlite_control.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"GET /session HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer a\r\n\r\n"
    )
    async with asyncio.timeout(PATIENCE):
        await asked.wait()
        writer.write(frame(encode(hello("a"))))
        with suppress(ConnectionError):
            assert await reader.read() == b""
    writer.transport.abort()
    answers.set()
    async with scripted_agent(sqlite_control.ws, sqlite_control.agent_token, "b"):
        pass
    assert "refused an agent at 127.0.0.1" in caplog.text
    assert "Traceback" not in caplog.text


async def test_silence_instead_of_a_greeting(
    sqlite_control: ServedControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modeldist.control.conversation.HELLO_WITHIN", 0.05)
    async with open_socket(sqlite_control.ws, sqlite_control.agent_token) as agent:
        code, reason = await agent.closed()
        assert code == 1008
        assert reason.startswith("no greeting within")


async def test_a_message_that_breaks_the_scheduler_ends_only_its_session(
    sqlite_control: ServedControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    ws, token = sqlite_control.ws, sqlite_control.agent_token
    async with scripted_agent(ws, token, "a") as a, scripted_agent(ws, token, "b") as b:
        with monkeypatch.context() as patched:
            patched.setattr(sqlite_control.plane.scheduler, "handle", broken, raising=False)
            await a.send(Report(1))
            assert (await a.closed())[0] == 1011
        await b.send(Resolve(1, REFERENCE))
        await b.expect(Resolved)


async def test_an_agent_that_does_not_read_is_dropped(
    tmp_path: Path, origin: MemoryOrigin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core_module, "STUCK_AFTER", 0.3)
    # Answers large enough to fill every buffer between here and there.
    origin.add("memory://org/large:v1", {f"{n:06}-{'x' * 100}": b"" for n in range(20_000)})
    async with served_control_plane(tmp_path / "state", origin) as served, served.client() as client:
        _, writer = await raw_agent(served.url, served.agent_token, "stuck")
        await agents(client, 1)
        for request in range(8):
            writer.write(frame(encode(Resolve(request, "memory://org/large:v1"))))
        await agents(client, 0)
        writer.transport.abort()
        async with scripted_agent(served.ws, served.agent_token, "healthy"):
            pass


async def test_connections_without_a_request_are_closed(
    sqlite_control: ServedControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They need no token, and each takes a descriptor away from an agent."""
    monkeypatch.setattr("modeldist.control.unheard.HEAD_WITHIN", 0.3)
    host, port = sqlite_control.url.removeprefix("http://").split(":")
    whole = f"GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    async with scripted_agent(sqlite_control.ws, sqlite_control.agent_token, "a") as agent:
        for said in (b"", whole[:20], whole + whole[:20]):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(said)
            async with asyncio.timeout(PATIENCE):
                with suppress(ConnectionError):
                    await reader.read()
            writer.transport.abort()
        await agent.send(Resolve(1, REFERENCE))
        await agent.expect(Resolved)


async def test_an_agent_that_pings_and_does_not_read_is_dropped(tmp_path: Path, origin: MemoryOrigin) -> None:
    """The answers to its pings do not pile up here."""
    async with served_control_plane(tmp_path / "state", origin, ping_interval=0.1) as served:
        reader, writer = await raw_agent(served.url, served.agent_token, "flood")
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        pings = (b"\x89\xfd" + bytes(4 + 125)) * 1000
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(ConnectionError):
                while True:
                    writer.write(pings)
                    await writer.drain()
        writer.transport.abort()


async def test_stopping_closes_sessions(tmp_path: Path, origin: MemoryOrigin) -> None:
    async with served_control_plane(tmp_path / "state", origin) as served:
        connection = open_socket(served.ws, served.agent_token)
        agent = await connection.__aenter__()
        await agent.send(hello("a"))
        await agent.expect(Welcome)
    assert (await agent.closed())[0] in (1001, 1012)
    await connection.__aexit__(None, None, None)


async def test_an_agent_that_answers_no_ping_is_dropped(tmp_path: Path, origin: MemoryOrigin) -> None:
    async with (
        served_control_plane(tmp_path / "state", origin, ping_interval=0.1) as served,
        served.client() as client,
    ):
        reader, writer = await raw_agent(served.url, served.agent_token, "mute")
        await agents(client, 1)
        await agents(client, 0)
        async with asyncio.timeout(PATIENCE):
            await reader.read()
        writer.close()
        await writer.wait_closed()


async def test_the_time_of_capabilities_does_not_go_back_with_the_clock(tmp_path: Path, origin: MemoryOrigin) -> None:
    """Of a control plane that is started again two days behind."""
    told = []
    for wall in (1_800_000_000.0, 1_800_000_000.0 - 2 * 86_400):
        async with (
            served_control_plane(tmp_path / "state", origin, now=lambda wall=wall: wall) as control,  # type: ignore[misc]
            scripted_agent(control.ws, control.agent_token, "a") as agent,
        ):
            assert agent.welcome is not None and agent.welcome.now is not None
            told.append(agent.welcome.now)
    assert 1_800_000_000 <= told[0] <= told[1] + 5 < told[0] + 65
