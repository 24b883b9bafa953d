"""Models, nodes, status and the API's own manners: what REST shows beside pulls."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import AsyncExitStack
from pathlib import Path

import httpx2
import pytest

from modeldist import __version__
from modeldist.artifact import Digest
from modeldist.client import AsyncClient
from modeldist.control.views import ArtifactView, FileView, NodePage
from modeldist.errors import (
    AccessDenied,
    AuthenticationRequired,
    ControlPlaneUnreachable,
    IntegrityError,
    ModeldistError,
    NotFound,
    OriginUnavailable,
    RateLimited,
    StoreNotWritable,
    Unsupported,
    Untrusted,
)
from modeldist.scheduler.messages import JoinTasks, Location, TaskJoin, TaskJoined
from modeldist.session.messages import Inventory
from tests.servers.control_plane import ServedControlPlane, served_control_plane
from tests.servers.memory_origin import MemoryOrigin
from tests.servers.scripted_agent import PATIENCE, ScriptedAgent, scripted_agent

REFERENCE = "memory://org/model:v1"


async def listed(client: AsyncClient, count: int, connected: int) -> NodePage:
    """The nodes, once so many are written down and so many are connected."""
    async with asyncio.timeout(PATIENCE):
        while True:
            page = await client.list_nodes()
            if len(page.nodes) == count and sum(node.connected for node in page.nodes) == connected:
                return page
            await asyncio.sleep(0.02)


async def test_models_and_where_they_are(control: ServedControlPlane, origin: MemoryOrigin) -> None:
    async with control.client() as client:
        assert (await client.list_models()).models == []
        resolved = await client.resolve(REFERENCE)
        assert [file.path for file in resolved.files] == ["config.json", "model.safetensors"]
        await client.resolve(resolved.reference)  # the same artifact by its pinned reference
        origin.add("memory://org/other:v1", {"a": b"1"})
        await client.resolve("memory://org/other:v1")
        page = await client.list_models(limit=1)
        rest = await client.list_models(cursor=page.next)
        models = {model.digest: model for model in (*page.models, *rest.models)}
        assert (len(page.models), len(rest.models), rest.next) == (1, 1, None)
        assert models[resolved.digest].references == sorted([REFERENCE, resolved.reference])
        assert (models[resolved.digest].files, models[resolved.digest].size) == (2, 1002)
        assert (await client.where_is(resolved.digest)).nodes == []
        async with (
            scripted_agent(control.ws, control.agent_token, "a", artifacts=(resolved.digest,)),
            scripted_agent(control.ws, control.agent_token, "b") as b,
        ):
            await b.send(Inventory((resolved.digest,)))
            async with asyncio.timeout(PATIENCE):
                while (await client.where_is(resolved.digest)).nodes != ["a", "b"]:
                    await asyncio.sleep(0.01)
            holders = {model.digest: model.holders for model in (await client.list_models()).models}
            assert holders[resolved.digest] == 2
            assert (await client.get_node("b")).artifacts == [resolved.digest]
        with pytest.raises(NotFound):
            await client.where_is("sha256:" + "0" * 64)


async def test_shard_tasks_have_the_names_of_models_and_files(
    tmp_path: Path, origin: MemoryOrigin, database_url: str
) -> None:
    """Also after a restart, when agents say which shards they have, and nobody asks what they are of."""
    state = tmp_path / "state"
    unknown = Digest("sha256:" + "ab" * 32)
    async with served_control_plane(state, origin, database_url) as control, control.client() as client:
        model = await client.resolve(REFERENCE)
        async with scripted_agent(control.ws, control.agent_token, "a") as a:
            await told_shards(a, *model.files, unknown=unknown)
            pull = await client.create_pull(REFERENCE, ["a"])
            shards = (await client.list_shards(pull.id)).shards
            assert {shard.task.reference for shard in shards if shard.task} == {REFERENCE}
            await check_names(client, model, unknown)
    async with (
        served_control_plane(state, origin, database_url) as control,
        control.client() as client,
        scripted_agent(control.ws, control.agent_token, "a") as a,
    ):
        await told_shards(a, *model.files, unknown=unknown)
        await check_names(client, model, unknown)


async def told_shards(agent: ScriptedAgent, *files: FileView, unknown: Digest) -> None:
    sizes = {Digest(file.digest): file.size for file in files} | {unknown: 7}
    await agent.send(JoinTasks(tuple(TaskJoin(digest, size, "o") for digest, size in sizes.items())))
    for _ in sizes:
        await agent.expect(TaskJoined)


async def check_names(client: AsyncClient, model: ArtifactView, unknown: Digest) -> None:
    wanted = {file.digest: (model.digest, REFERENCE, file.path) for file in model.files} | {unknown: (None, None, None)}
    tasks = (await client.list_tasks()).tasks
    assert {task.digest: (task.model, task.reference, task.path) for task in tasks} == wanted
    taken = [task async for task in client.node_tasks("a")]
    assert {task.digest: (task.model, task.reference, task.path) for task in taken} == wanted
    for digest, name in wanted.items():
        for task in (await client.get_task(digest), await client.get_swarm(digest)):
            assert (task.model, task.reference, task.path) == name


async def test_nodes_are_listed_from_the_moment_they_connect(control: ServedControlPlane) -> None:
    """Before they are in the database; in pages, each once and in order."""
    async with AsyncExitStack() as agents, control.client() as client:
        for node in "dbeac":
            await agents.enter_async_context(scripted_agent(control.ws, control.agent_token, node))
        first = await client.list_nodes(limit=2)
        second = await client.list_nodes(limit=2, cursor=first.next)
        last = await client.list_nodes(limit=2, cursor=second.next)
        assert [[node.node for node in page.nodes] for page in (first, second, last)] == [["a", "b"], ["c", "d"], ["e"]]
        assert all(node.connected for page in (first, second, last) for node in page.nodes)
        assert (first.next, second.next, last.next) == ("b", "d", None)


async def test_a_moved_tag_is_noticed(control: ServedControlPlane, origin: MemoryOrigin) -> None:
    async with control.client() as client:
        before = await client.resolve(REFERENCE)
        assert await client.resolve(REFERENCE) == before
        origin.add(REFERENCE, {"config.json": b"{1}"})
        after = await client.resolve(REFERENCE)
        assert after.digest != before.digest
        assert origin.requests == {f"resolve {REFERENCE}": 2, f"still {REFERENCE}": 2}


async def test_artifacts_survive_a_restart(tmp_path: Path, origin: MemoryOrigin, database_url: str) -> None:
    async with served_control_plane(tmp_path / "s", origin, database_url) as before, before.client() as client:
        digest = (await client.resolve(REFERENCE)).digest
        cluster = before.plane.cluster
        async with scripted_agent(before.ws, before.agent_token, "a") as agent:
            assert agent.welcome is not None
            key = agent.welcome.capability_key
    async with served_control_plane(tmp_path / "s", origin, database_url) as after, after.client() as client:
        assert (await client.resolve(REFERENCE)).digest == digest
        assert origin.requests == {f"resolve {REFERENCE}": 1, f"still {REFERENCE}": 1}
        assert (await client.status()).cluster == cluster
        async with scripted_agent(after.ws, after.agent_token, "a") as agent:
            assert agent.welcome is not None
            assert agent.welcome.capability_key == key


async def test_nodes(control: ServedControlPlane) -> None:
    async with control.client() as client:
        where = Location(rack="r1", zone="z1")
        async with (
            scripted_agent(control.ws, control.agent_token, "a", location=where, labels={"gpu": "h100"}),
            scripted_agent(control.ws, control.agent_token, "b"),
        ):
            nodes = (await listed(client, 2, 2)).nodes
            assert [node.node for node in nodes] == ["a", "b"]
            assert (nodes[0].rack, nodes[0].zone, nodes[0].labels) == ("r1", "z1", {"gpu": "h100"})
            control.plane.registry.note_all()
        nodes = (await listed(client, 2, 0)).nodes
        assert nodes[0].labels == {"gpu": "h100"}
        gone = await client.get_node("a")
        assert (gone.connected, gone.traffic) == (False, None)
        assert gone.first_seen is not None
        assert gone.first_seen <= gone.last_seen
        page = await client.list_nodes(limit=1)
        assert page.next == "a"
        assert [node.node for node in (await client.list_nodes(cursor=page.next)).nodes] == ["b"]
        with pytest.raises(NotFound, match="'c'"):
            await client.get_node("c")
        with pytest.raises(NotFound):
            await client.get_task("sha256:" + "0" * 64)


async def test_status(control: ServedControlPlane, database_url: str) -> None:
    async with control.client() as client:
        status = await client.status()
        assert status.version == __version__
        assert status.database == database_url.split(":", maxsplit=1)[0]
        assert (status.agents, status.pulls_running, status.models, status.tasks) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotFound("x: gone"), 404),
        (AuthenticationRequired("x: who are you"), 403),
        (AccessDenied("x: no"), 403),
        (RateLimited("x: slower", retry_after=7.2), 429),
        (OriginUnavailable("x: down"), 424),
        (IntegrityError("x: wrong bytes"), 424),
        (Unsupported("x: what is that"), 422),
        (Untrusted("x: who made that"), 403),
        (StoreNotWritable("x: full"), 503),
        (ModeldistError("x: odd"), 500),
    ],
)
async def test_causes_have_statuses(
    sqlite_control: ServedControlPlane, origin: MemoryOrigin, error: ModeldistError, status: int
) -> None:
    error.remedy = "Do something."
    origin.failures[REFERENCE] = error
    headers = {"Authorization": f"Bearer {sqlite_control.admin_token}"}
    async with httpx2.AsyncClient(base_url=sqlite_control.url, headers=headers, trust_env=False) as http:
        answer = await http.post("/api/v1/resolve", json={"reference": REFERENCE})
    assert answer.status_code == status
    problem = answer.json()
    assert (problem["code"], problem["detail"], problem["remedy"]) == (error.code, error.message, "Do something.")
    assert answer.headers.get("retry-after") == ("8" if error.retry_after else None)
    async with sqlite_control.client() as client:
        with pytest.raises(type(error)) as raised:
            await client.resolve(REFERENCE)
        assert raised.value.info() == error.info()


async def test_bodies_are_bounded_and_checked(sqlite_control: ServedControlPlane) -> None:
    async def endless():
        for _ in range(64):
            yield b"x" * 65536

    headers = {"Authorization": f"Bearer {sqlite_control.admin_token}", "Content-Type": "application/json"}
    async with httpx2.AsyncClient(base_url=sqlite_control.url + "/api/v1", headers=headers, trust_env=False) as http:
        announced = await http.post("/pulls", content=b"x" * (2 << 20))
        assert (announced.status_code, announced.json()["code"]) == (413, "usage")
        assert (await http.post("/pulls", content=endless())).status_code == 413
        for body, said in (
            (b"{", "JSON"),
            (b"[]", "body: "),
            (b'{"reference": "a"}', "body.nodes: "),
            (b'{"reference": "a", "nodes": "some"}', 'body.nodes: Write "all", a list of names'),
            (b'{"reference": "a", "nodes": {"any": 3}}', '{"count": N} or {"percentage": P}.'),
            (b'{"reference": "a", "nodes": []}', "body.nodes.names: List should have at least 1 item"),
            (b'{"reference": "a", "nodes": {"count": 0}}', "body.nodes.count.count: "),
            (b'{"reference": "a", "nodes": {"labels": {}}}', "body.nodes.labels.labels: "),
            (b'{"reference": "a", "nodes": ["\\u0000"]}', "body.nodes.names.0: "),
            (b'{"reference": "a", "nodes": "all", "output_path": "/etc/passwd"}', "body.output_path: "),
        ):
            answer = await http.post("/pulls", content=body)
            assert (answer.status_code, answer.json()["code"]) == (422, "usage"), body
            assert said in answer.json()["detail"]
        form = {"Content-Type": "application/x-www-form-urlencoded"}  # what `curl -d` sends by itself
        posted = await http.post("/pulls", content=b'{"reference": "a", "nodes": "all"}', headers=form)
        assert "Content-Type: application/json" in posted.json()["remedy"]
        unknown = await http.get("/pulls/nothing")
        assert unknown.json()["detail"] == "There is no pull 'nothing'."
        unknown = await http.get("/nothing")
        assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")
        assert "allow" in (wrong := await http.put("/pulls", content=b"{}")).headers
        assert (wrong.status_code, wrong.json()["code"]) == (405, "usage")


async def test_a_bug_is_answered_with_a_problem(
    sqlite_control: ServedControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(sqlite_control.plane.scheduler, "tasks", broken, raising=False)
    async with sqlite_control.client() as client:
        with pytest.raises(ModeldistError, match="GET /api/v1/tasks failed inside") as raised:
            await client.list_tasks()
        assert "secret detail" not in str(raised.value)


async def test_the_description(sqlite_control: ServedControlPlane) -> None:
    headers = {"Authorization": f"Bearer {sqlite_control.admin_token}"}
    async with httpx2.AsyncClient(base_url=sqlite_control.url, headers=headers, trust_env=False) as http:
        document = (await http.get("/api/v1/openapi.json")).json()
    assert document["security"] == [{"token": []}]
    examples = document["components"]["schemas"]["PullRequest"]["examples"]
    assert examples[0]["nodes"] == "all"


async def test_not_ready_without_its_database(sqlite_control: ServedControlPlane) -> None:
    async with httpx2.AsyncClient(base_url=sqlite_control.url, trust_env=False) as http:
        assert (await http.get("/readyz")).status_code == 200
        await sqlite_control.plane.database.engine.dispose()
        database = sqlite_control.state_dir / "control.sqlite"
        aside = database.with_suffix(".aside")
        database.rename(aside)
        database.mkdir()
        answer = await http.get("/readyz")
        assert (answer.status_code, answer.text) == (503, "not ready\n")
        assert (await http.get("/healthz")).status_code == 200
        database.rmdir()
        aside.rename(database)


async def test_the_client_names_what_does_not_answer(tmp_path: Path) -> None:
    async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>")
        writer.close()

    server = await asyncio.start_server(page, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with AsyncClient(url, "md_x") as client:
            with pytest.raises(ControlPlaneUnreachable, match="no control plane's answer"):
                await client.status()
            with pytest.raises(ControlPlaneUnreachable):
                [event async for event in client.stream_events("x")]
    async with AsyncClient(url, "md_x", verify=ssl.create_default_context()) as client:
        with pytest.raises(ControlPlaneUnreachable, match="does not answer"):
            await client.status()
        with pytest.raises(ControlPlaneUnreachable, match="does not answer"):
            [event async for event in client.stream_events("x")]
