"""The control plane at its ceilings, over REST and sessions: who is refused, how it is said, that room comes back."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from sqlalchemy.exc import TimeoutError as NoConnection

from modeldist.agent.link import WebSocketLink
from modeldist.agent.session_keeper import SessionKeeper
from modeldist.artifact import Artifact, ArtifactFile, Digest
from modeldist.client import AsyncClient, Client
from modeldist.errors import Overloaded, ShareUsedUp
from modeldist.scheduler.messages import JoinTasks, LeaveTasks, Priority, Report, TaskJoin, TaskJoined, TaskRefused
from modeldist.session.messages import Resolve, Resolved, ResolveFailed, StartPull, Welcome
from tests.servers.control_plane import ServedControlPlane, served_control_plane
from tests.servers.memory_origin import MemoryOrigin
from tests.servers.raw_agent import raw_agent
from tests.servers.scripted_agent import PATIENCE, hello, open_socket, scripted_agent

REFERENCE = "memory://org/model:v1"
TASK = Digest("sha256:" + "ab" * 32)


@asynccontextmanager
async def serving(tmp_path: Path, origin: MemoryOrigin, **settings: object) -> AsyncIterator[ServedControlPlane]:
    async with served_control_plane(tmp_path / "state", origin, **settings) as served:
        yield served


@asynccontextmanager
async def team(served: ServedControlPlane, name: str, patience: float = 0.0) -> AsyncIterator[AsyncClient]:
    """With a token of its own."""
    token = await served.plane.tokens.create(name, "admin")
    async with AsyncClient(served.url, token, patience=patience) as client:
        yield client


def asking(served: ServedControlPlane) -> httpx2.AsyncClient:
    headers = {"Authorization": f"Bearer {served.admin_token}"}
    return httpx2.AsyncClient(base_url=f"{served.url}/api/v1", headers=headers, trust_env=False)


async def until_let_in(client: AsyncClient, priority: str, limit: int = 50) -> int:
    """How many pulls are made until one is refused."""
    for count in range(limit):
        try:
            await client.create_pull(REFERENCE, priority=priority)  # type: ignore[arg-type]
        except Overloaded:
            return count
    raise AssertionError("nothing was refused")


# --- pulls -----------------------------------------------------------------------------------------------------------


async def test_prefetches_are_refused_before_what_serves(tmp_path: Path, origin: MemoryOrigin) -> None:
    async with serving(tmp_path, origin, most_running_pulls=20) as served, AsyncExitStack() as stack:
        teams = [await stack.enter_async_context(team(served, f"team {number}")) for number in range(4)]
        assert await until_let_in(teams[0], "prefetch") == 12
        assert await until_let_in(teams[1], "pull") == 5
        assert [await until_let_in(each, "serving") for each in teams[2:]] == [2, 1]
        assert (await teams[0].status()).pulls_running == 20  # nothing that was let in was thrown away


async def test_one_token_leaves_room_for_another(tmp_path: Path, origin: MemoryOrigin) -> None:
    async with (
        serving(tmp_path, origin, most_running_pulls=20) as served,
        team(served, "greedy") as greedy,
        team(served, "late") as late,
    ):
        assert await until_let_in(greedy, "serving") == 14
        with pytest.raises(ShareUsedUp, match="14 pulls run for this token already") as refused:
            await greedy.create_pull(REFERENCE, priority="serving")
        assert refused.value.retry_after
        assert await until_let_in(late, "serving") == 4


async def test_how_it_is_said(tmp_path: Path, origin: MemoryOrigin) -> None:
    async with serving(tmp_path, origin, most_running_pulls=5) as served, asking(served) as http:
        body = {"reference": REFERENCE, "nodes": "all", "priority": "serving"}
        made = [await http.post("/pulls", json=body) for _ in range(5)]
        assert [answer.status_code for answer in made] == [202, 202, 202, 202, 429]
        shed = await http.post("/pulls", json=body | {"priority": "prefetch"})
        assert shed.status_code == 503
        for answer, code in ((made[-1], "share_used_up"), (shed, "overloaded")):
            problem = answer.json()
            assert answer.headers["content-type"] == "application/problem+json"
            assert (problem["code"], problem["status"]) == (code, answer.status_code)
            assert problem["remedy"]
            assert int(answer.headers["retry-after"]) >= problem["retry_after"] >= 1.0
        preheat = await http.post(
            f"{served.url}/preheats", json={"type": "image", "url": "https://r.example/v2/org/m/manifests/v1"}
        )
        assert preheat.status_code == 503


async def test_a_pull_that_ends_makes_room(tmp_path: Path, origin: MemoryOrigin) -> None:
    async with (
        serving(tmp_path, origin, most_running_pulls=1) as served,
        team(served, "a") as a,
        team(served, "b") as b,
        scripted_agent(served.ws, served.agent_token, "node") as agent,
    ):
        for end in ("done", "cancelled", "deadline"):
            pull = await a.create_pull(REFERENCE)
            with pytest.raises(Overloaded):
                await b.create_pull(REFERENCE)
            asked = await agent.expect(StartPull)
            if end == "done":
                await agent.finish(asked)
                await a.wait(pull.id)
            elif end == "cancelled":
                await a.cancel_pull(pull.id)
            else:
                served.plane.book._running[pull.id].deadline = 1.0  # long ago
                served.plane.book.expire()
            assert served.plane.rooms.pulls.used == 0
            assert served.plane.rooms.held.used == 0
            await b.cancel_pull((await b.create_pull(REFERENCE)).id)


async def test_pulls_of_an_earlier_life_count(tmp_path: Path, origin: MemoryOrigin) -> None:
    async with serving(tmp_path, origin) as served, team(served, "a") as client:
        made = [await client.create_pull(REFERENCE) for _ in range(3)]
    async with serving(tmp_path, origin, most_running_pulls=3) as served, team(served, "b") as client:
        with pytest.raises(Overloaded, match="3 pulls run"):
            await client.create_pull(REFERENCE, priority="serving")
        await client.cancel_pull(made[0].id)
        await client.create_pull(REFERENCE, priority="serving")


async def test_a_key_that_is_known_needs_no_room(tmp_path: Path, origin: MemoryOrigin) -> None:
    async with serving(tmp_path, origin, most_running_pulls=1) as served, team(served, "a") as client:
        made = await client.create_pull(REFERENCE, idempotency_key="k")
        assert (await client.create_pull(REFERENCE, idempotency_key="k")).id == made.id


# --- clients ask again -----------------------------------------------------------------------------------------------


async def test_clients_ask_again_until_there_is_room(tmp_path: Path, origin: MemoryOrigin) -> None:
    async with serving(tmp_path, origin, most_running_pulls=1) as served, team(served, "a") as first:
        holds = await first.create_pull(REFERENCE)
        token = await served.plane.tokens.create("b", "admin")

        with Client(served.url, token, patience=PATIENCE) as sync:

            def create_and_cancel() -> str:
                return sync.cancel_pull(sync.create_pull(REFERENCE, idempotency_key="sync").id).state

            waiting = asyncio.create_task(asyncio.to_thread(create_and_cancel))
            async with AsyncClient(served.url, token, patience=PATIENCE) as second:
                also = asyncio.create_task(second.create_pull(REFERENCE, idempotency_key="async"))
                while not (second.asked_again["overloaded"] and sync.asked_again["overloaded"]):
                    await asyncio.sleep(0.01)
                await first.cancel_pull(holds.id)
                await second.cancel_pull((await also).id)
            assert await waiting == "cancelled"


async def test_no_request_that_may_not_be_repeated_is_asked_again(tmp_path: Path, origin: MemoryOrigin) -> None:
    async with (
        serving(tmp_path, origin, most_running_pulls=1) as served,
        team(served, "a") as first,
        team(served, "b", patience=PATIENCE) as second,
    ):
        await first.create_pull(REFERENCE)
        with pytest.raises(Overloaded):
            await second.create_pull(REFERENCE)
        assert not second.asked_again


async def test_patience_ends(tmp_path: Path, origin: MemoryOrigin) -> None:
    async with (
        serving(tmp_path, origin, most_running_pulls=1) as served,
        team(served, "a") as first,
        team(served, "b", patience=0.5) as second,
    ):
        await first.create_pull(REFERENCE)
        with pytest.raises(Overloaded, match="1 pulls run"):  # which asks for a second
            await second.create_pull(REFERENCE, idempotency_key="k")


# --- streams, requests, connections ----------------------------------------------------------------------------------


async def test_streams_of_events(tmp_path: Path, origin: MemoryOrigin) -> None:
    async with (
        serving(tmp_path, origin, most_event_streams=1) as served,
        team(served, "a") as client,
        team(served, "b", patience=PATIENCE) as patient,
    ):
        pull = await client.create_pull(REFERENCE)
        stream = client.stream_events(pull.id)
        assert (await anext(stream)).kind == "snapshot"
        with pytest.raises(Overloaded, match="1 clients follow pulls"):
            await anext(patient.stream_events(pull.id))
        follower = patient.follow(pull.id)
        following = asyncio.ensure_future(anext(follower))
        while not patient.asked_again:
            await asyncio.sleep(0.01)
        await stream.aclose()
        assert (await asyncio.wait_for(following, PATIENCE)).kind == "snapshot"
        await follower.aclose()


async def test_requests_under_way(tmp_path: Path, origin: MemoryOrigin) -> None:
    origin.answering.clear()
    async with serving(tmp_path, origin, most_requests=1) as served, asking(served) as http:
        resolving = asyncio.create_task(http.post("/resolve", json={"reference": REFERENCE}))
        while not origin.requests:
            await asyncio.sleep(0.01)
        refused = await http.get("/status")
        assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
        assert (await http.get(f"{served.url}/healthz")).status_code == 200
        origin.answering.set()
        assert (await resolving).status_code == 200
        assert (await http.get("/status")).status_code == 200


async def test_a_stream_is_no_request_under_way(tmp_path: Path, origin: MemoryOrigin) -> None:
    async with serving(tmp_path, origin, most_requests=1) as served, team(served, "a") as client:
        pull = await client.create_pull(REFERENCE)
        stream = client.stream_events(pull.id)
        assert (await anext(stream)).kind == "snapshot"
        assert (await client.status()).pulls_running == 1
        await stream.aclose()


async def test_bodies_are_counted_before_they_are_read(tmp_path: Path, origin: MemoryOrigin) -> None:
    most = 32 << 20  # of which one token has two thirds
    async with serving(tmp_path, origin, most_held=most) as served, AsyncExitStack() as stack:
        host, port = served.url.removeprefix("http://").split(":")
        head = (
            f"POST /api/v1/resolve HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {served.admin_token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {1 << 20}\r\n\r\n{{"
        ).encode()
        rooms = served.plane.rooms
        for _ in range(20):
            before = rooms.held.used
            reader, writer = await asyncio.open_connection(host, int(port))
            stack.callback(writer.close)
            writer.write(head)
            answer = asyncio.ensure_future(reader.readline())
            while not answer.done() and rooms.held.used == before:
                await asyncio.sleep(0.01)
            if answer.done():
                assert b" 429 " in answer.result() or b" 503 " in answer.result()
                break
            answer.cancel()
        else:
            raise AssertionError("bodies of 20 MiB were waited for")
        assert rooms.held.used <= most
        await stack.aclose()
        async with asyncio.timeout(PATIENCE):
            while rooms.held.used:
                await asyncio.sleep(0.01)


async def test_a_connection_too_many_is_told_so(tmp_path: Path, origin: MemoryOrigin) -> None:
    async with serving(tmp_path, origin, most_connections=1) as served, asking(served) as http:
        pull = (await http.post("/pulls", json={"reference": REFERENCE, "nodes": "all"})).json()["id"]
        async with http.stream("GET", f"/pulls/{pull}/events") as events, asking(served) as other:
            assert events.status_code == 200
            refused = await other.get("/status")
            assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
            assert refused.headers["retry-after"] == "2"
            assert (await other.get(f"{served.url}/healthz")).text == "ok\n"
        await http.aclose()
        async with asyncio.timeout(PATIENCE), asking(served) as later:
            while (await later.get("/status")).status_code != 200:
                await asyncio.sleep(0.05)


async def test_strangers_that_connect_and_ask_nothing_keep_nobody_out(
    tmp_path: Path, origin: MemoryOrigin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modeldist.control.unheard.HEAD_WITHIN", 1e6)
    async with serving(tmp_path, origin, most_connections=8) as served:
        host, port = served.url.removeprefix("http://").split(":")
        asked = f"GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        strangers = [await asyncio.open_connection(host, int(port)) for _ in range(8)]
        for (_, writer), said in zip(strangers, (b"", asked[:9], asked, asked + asked[:9]) * 2, strict=True):
            writer.write(said)
        try:
            async with asyncio.timeout(PATIENCE), asking(served) as http:
                while (await http.get("/status")).status_code != 200:  # they are looked at now and then
                    await asyncio.sleep(0.05)
            async with asyncio.timeout(PATIENCE), scripted_agent(served.ws, served.agent_token, "agent") as agent:
                await agent.send(Resolve(1, REFERENCE))
                await agent.expect(Resolved)
        finally:
            for _, writer in strangers:
                writer.transport.abort()


async def test_a_database_that_does_not_keep_up(
    tmp_path: Path, origin: MemoryOrigin, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def waits_in_vain(*_: object) -> None:
        raise NoConnection("QueuePool limit of size 5 overflow 10 reached, connection timed out, timeout 30.00")

    async with serving(tmp_path, origin) as served, asking(served) as http:
        monkeypatch.setattr(served.plane.book, "listing", waits_in_vain)
        refused = await http.get("/pulls")
        assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
        assert refused.headers["retry-after"] == "5"


# --- sessions --------------------------------------------------------------------------------------------------------


async def test_agents_are_bounded_and_told_when_to_come_back(tmp_path: Path, origin: MemoryOrigin) -> None:
    async with serving(tmp_path, origin, most_agents=1) as served:
        link = WebSocketLink(served.url, served.agent_token)
        async with scripted_agent(served.ws, served.agent_token, "a"):
            with pytest.raises(Overloaded, match="1 agents are connected") as refused:
                async with link.open(hello("b")):
                    pass
            assert refused.value.retry_after
        async with asyncio.timeout(PATIENCE):
            while served.plane.rooms.sessions.used:
                await asyncio.sleep(0.01)
        async with link.open(hello("b")) as session:
            assert isinstance(session.welcome, Welcome)
            assert served.plane.rooms.sessions.used == 1
    assert served.plane.rooms.sessions.used == 0


async def test_a_session_that_never_greets_gives_its_place_back(tmp_path: Path, origin: MemoryOrigin) -> None:
    async with serving(tmp_path, origin) as served:
        async with open_socket(served.ws, served.agent_token):
            assert served.plane.rooms.sessions.used == 1
        async with asyncio.timeout(PATIENCE):
            while served.plane.rooms.sessions.used:
                await asyncio.sleep(0.01)


async def test_resolutions_are_bounded_and_agents_ask_again(tmp_path: Path, origin: MemoryOrigin) -> None:
    origin.add("memory://org/other:v1", {"config.json": b"[]"})
    origin.answering.clear()
    async with (
        serving(tmp_path, origin, most_resolving=1) as served,
        scripted_agent(served.ws, served.agent_token, "a") as a,
        scripted_agent(served.ws, served.agent_token, "b") as b,
        keeping(served, "c") as keeper,
    ):
        await a.send(Resolve(1, REFERENCE))
        while not origin.requests:
            await asyncio.sleep(0.01)
        await b.send(Resolve(1, REFERENCE))  # the same: it costs nothing more
        await b.send(Resolve(2, "memory://org/other:v1", None, Priority.PREFETCH))
        refused = await b.expect(ResolveFailed)
        assert (refused.request, refused.error.code) == (2, "overloaded")
        assert refused.error.retry_after
        asked = asyncio.create_task(keeper.resolve("memory://org/other:v1", None))
        await asyncio.sleep(0)
        origin.answering.set()
        assert (await a.expect(Resolved)).request == 1
        assert (await b.expect(Resolved)).request == 1
        async with asyncio.timeout(PATIENCE):
            answer = await asked
        assert answer.artifact is not None
        assert answer.artifact.name == "memory://org/other"


@asynccontextmanager
async def keeping(served: ServedControlPlane, node: str) -> AsyncIterator[SessionKeeper]:
    """An agent's own end of a session."""

    async def opened(welcome: Welcome) -> None:
        return

    link = WebSocketLink(served.url, served.agent_token)
    keeper = SessionKeeper(
        link, lambda: hello(node), opened, lambda _: None, random.Random(1), busy=lambda: False, patience=PATIENCE
    )
    running = asyncio.create_task(keeper.run())
    try:
        yield keeper
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_tasks_are_bounded_by_what_they_take(tmp_path: Path, origin: MemoryOrigin) -> None:
    async with serving(tmp_path, origin, most_held=32 << 20) as served:
        async with scripted_agent(served.ws, served.agent_token, "a") as agent:
            await agent.send(Report(1))  # it has brought along what it has
            joined = 0
            for number in range(1000):
                task = Digest(f"sha256:{number:064x}")
                await agent.send(JoinTasks((TaskJoin(task, 1 << 40, "o", piece_size=64 << 20),), Priority.PULL))
                answer = await agent.receive()
                if isinstance(answer, TaskRefused):
                    break
                joined += isinstance(answer, TaskJoined)
            else:
                raise AssertionError("a thousand tasks of 16,384 pieces were let in")
            assert answer.retry_after
            assert joined
            held = served.plane.rooms.held
            assert held.used <= 32 << 20
            await agent.send(LeaveTasks(tuple(Digest(f"sha256:{number:064x}") for number in range(joined))))
            await agent.send(JoinTasks((TaskJoin(TASK, 1 << 40, "o", piece_size=64 << 20),), Priority.PULL))
            await agent.expect(TaskJoined)
        async with asyncio.timeout(PATIENCE):
            while held.used:
                await asyncio.sleep(0.01)


def large(number: int, files: int) -> Artifact:
    digest = Digest(f"sha256:{number:064x}")
    return Artifact(
        reference=f"memory://org/large-{number}@{digest}",
        name=f"memory://org/large-{number}",
        tag="v1",
        digest=digest,
        revision=f"{number:040x}",
        repo_id=f"org/large-{number}",
        origin="http",
        endpoint="memory://",
        repository=f"org/large-{number}",
        files=tuple(
            ArtifactFile(f"part-{part:06}-of-a-rather-long-name.bin", Digest(f"sha256:{part:064x}"), 1, kind="weight")
            for part in range(files)
        ),
    )


async def test_large_answers_that_are_not_taken_are_bounded(tmp_path: Path, origin: MemoryOrigin) -> None:
    """Agents that ask for large artifacts and read nothing: the control plane holds so much of them and no more, and
    answers others."""
    for number in range(8):
        origin.name(f"memory://org/large-{number}:v1", large(number, 4000))
    async with serving(tmp_path, origin, most_held=32 << 20) as served, AsyncExitStack() as stack:
        rooms = served.plane.rooms
        for node in range(4):
            _, writer = await raw_agent(served.url, served.agent_token, f"deaf-{node}")
            stack.callback(writer.close)
            for number in range(8):
                writer.write(framed(Resolve(number, f"memory://org/large-{number}:v1")))
        async with scripted_agent(served.ws, served.agent_token, "a") as agent:
            await agent.send(Resolve(1, REFERENCE))
            assert (await agent.expect(Resolved)).artifact is not None
        assert rooms.held.used <= 32 << 20
        await stack.aclose()
        async with asyncio.timeout(PATIENCE):
            while rooms.held.used or rooms.questions.used:
                await asyncio.sleep(0.01)


def framed(message: Resolve) -> bytes:
    from modeldist.session.messages import encode
    from tests.servers.raw_agent import frame

    return frame(encode(message))


# --- large pulls -----------------------------------------------------------------------------------------------------


async def test_a_pull_of_many_nodes_comes_in_parts_and_whole(tmp_path: Path, origin: MemoryOrigin) -> None:
    async with serving(tmp_path, origin) as served, team(served, "a") as client:
        greetings = {f"node-{number:04}": (hello(f"node-{number:04}"), 1.0) for number in range(1500)}
        await served.plane.nodes.seen(greetings)
        made = await client.create_pull(REFERENCE, sorted(greetings))
        assert [node.node for node in made.nodes] == sorted(greetings)
        assert await client.get_pull(made.id) == made
        stream = client.stream_events(made.id)
        assert (await anext(stream)).pull == made
        await stream.aclose()
        assert (await client.list_pulls()).pulls[0].states == {"waiting": 1500}
        cancelled = await client.cancel_pull(made.id)
        async with asking(served) as http:
            text = (await http.get(f"/pulls/{made.id}")).text
        assert json.loads(text)["states"] == cancelled.states == {"cancelled": 1500}
        assert served.plane.rooms.held.used == 0
