"""The Python client against a real control plane: both clients, waiting, streams that break, webhooks."""

from __future__ import annotations

import asyncio
import inspect
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from modeldist.artifact import Digest
from modeldist.client import AsyncClient, Client, verify_webhook
from modeldist.control.app import create_app
from modeldist.control.settings import ServerSettings
from modeldist.control.views import PullView
from modeldist.errors import (
    ControlPlaneUnreachable,
    IdempotencyKeyReused,
    InvalidWebhook,
    NotEnoughNodes,
    NotEnoughSpace,
    NotFound,
    PullFailed,
    UsageError,
)
from modeldist.scheduler.messages import JoinTasks, TaskJoin
from modeldist.scheduler.pieces import PieceSet
from modeldist.session.messages import PullProgress, StartPull, TaskJoined
from tests.servers.control_plane import ServedControlPlane, served_control_plane
from tests.servers.memory_origin import MemoryOrigin
from tests.servers.scripted_agent import PATIENCE, ScriptedAgent, scripted_agent
from tests.servers.webhook_receiver import webhook_receiver

REFERENCE = "memory://org/model:v1"
SECRET = "whsec_" + "A" * 44
TASK = Digest("sha256:" + "a" * 64)


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[ServedControlPlane]:
    origin = MemoryOrigin()
    origin.add(REFERENCE, {"config.json": b"{}"})
    async with served_control_plane(tmp_path / "state", origin) as served:
        yield served


@pytest.fixture
async def agent(control: ServedControlPlane) -> AsyncIterator[ScriptedAgent]:
    async with scripted_agent(control.ws, control.agent_token, "a") as connected:
        yield connected


def methods(client: type) -> Iterator[tuple[str, list[str]]]:
    for name, method in inspect.getmembers(client, inspect.isfunction):
        if not name.startswith("_"):
            yield name, [str(parameter) for parameter in inspect.signature(method).parameters.values()]


def test_both_clients_ask_for_the_same() -> None:
    asynchronous, synchronous = dict(methods(AsyncClient)), dict(methods(Client))
    synchronous["wait"].remove("timeout: 'float | None' = None")  # asyncio has one of its own
    assert asynchronous == synchronous
    assert len(asynchronous) > 20


def test_whatever_the_api_has_for_programs_can_be_asked() -> None:
    operations = {
        operation["operationId"]
        for path, methods in create_app(ServerSettings()).openapi()["paths"].items()
        for operation in methods.values()
        if path.startswith("/api/v1/") and path not in ("/api/v1/enrol", "/api/v1/certificate")  # of agents
    }
    assert operations - dict(methods(Client)).keys() == {"pull_events"}  # which `stream_events` and `follow` are


async def test_everything_that_may_be_asked_without_an_event_loop(
    control: ServedControlPlane, agent: ScriptedAgent
) -> None:
    def ask() -> PullView:
        with Client(control.url, control.admin_token) as client:
            model = client.resolve(REFERENCE)
            pull = client.create_pull(REFERENCE, idempotency_key="k")
            assert client.create_pull(REFERENCE, idempotency_key="k").id == pull.id
            with pytest.raises(IdempotencyKeyReused):
                client.create_pull(REFERENCE, ["a"], idempotency_key="k")
            with pytest.raises(NotEnoughNodes, match="7 nodes"):
                client.create_pull(REFERENCE, {"count": 7})
            with pytest.raises(TimeoutError, match="still runs"):
                client.wait(pull.id, timeout=0.0)
            with pytest.raises(NotFound):
                next(client.follow("nothing"))
            assert [known.digest for known in client.models()] == [model.digest]
            assert client.where_is(model.digest).nodes == []
            assert [found.id for found in client.pulls(state="running")] == [pull.id]
            assert (list(client.tasks()), client.status().agents) == ([], 1)
            events = client.follow(pull.id)
            assert next(events).kind == "snapshot"
            asyncio.run_coroutine_threadsafe(finish(), loop).result(PATIENCE)
            assert [event.kind for event in events] == ["node", "end"]
            assert client.cancel_pull(pull.id).state == "done"
            return client.wait(pull.id)

    async def finish() -> None:
        asked = await agent.expect(StartPull)
        await agent.send(PullProgress(asked.pull, "done", path="/models/it"))

    loop = asyncio.get_running_loop()
    ended = await asyncio.to_thread(ask)
    assert (ended.state, ended.nodes[0].path) == ("done", "/models/it")


async def test_a_stream_that_breaks_is_asked_for_again(control: ServedControlPlane, agent: ScriptedAgent) -> None:
    async with control.client() as client, asyncio.timeout(PATIENCE):
        pull = await client.create_pull(REFERENCE)
        asked = await agent.expect(StartPull)
        kinds = []
        async for event in client.follow(pull.id):
            kinds.append(event.kind)
            if kinds == ["snapshot"]:
                control.plane.book.end_streams()  # as when it stops; the stream ends without an end
            elif kinds == ["snapshot", "snapshot"]:
                await agent.finish(asked)
        assert (kinds[:2], kinds[-1]) == (["snapshot", "snapshot"], "end")
        assert (await client.wait(pull.id)).state == "done"


async def test_waiting_raises_what_nodes_failed_with(control: ServedControlPlane, agent: ScriptedAgent) -> None:
    async with control.client() as client, scripted_agent(control.ws, control.agent_token, "b") as b:
        for errors, raised in (
            ((NotEnoughSpace("It is full."), NotEnoughSpace("It is full, too.")), NotEnoughSpace),
            ((NotEnoughSpace("It is full."), NotFound("It is gone.")), PullFailed),
        ):
            pull = await client.create_pull(REFERENCE)
            for node, error in zip((agent, b), errors, strict=True):
                await node.expect(StartPull)
                await node.send(PullProgress(pull.id, "failed", error=error.info()))
            with pytest.raises(raised, match="is on 0 of 2 nodes"):
                await client.wait(pull.id)
            assert (await client.wait(pull.id, check=False)).state == "failed"
        pull = await client.create_pull(REFERENCE)
        await client.cancel_pull(pull.id)
        with pytest.raises(PullFailed, match="cancelled"):
            await client.wait(pull.id)


async def test_what_the_console_draws(control: ServedControlPlane, agent: ScriptedAgent) -> None:
    await agent.send(JoinTasks((TaskJoin(TASK, 4 << 20, "o", PieceSet(0b0101).to_bytes(), piece_size=1 << 20),)))
    await agent.expect(TaskJoined)

    def ask() -> None:
        with Client(control.url, control.admin_token) as client:
            model = client.resolve(REFERENCE)
            pull = client.create_pull(REFERENCE)
            assert client.list_shards(pull.id).model == model.digest
            assert [shard.path for shard in client.shards(pull.id)] == ["config.json"]
            assert [why.node for why in client.why_pull(pull.id).nodes] == ["a"]
            assert client.get_model(model.digest).references == [REFERENCE]
            assert [(rack.rack, rack.connected) for rack in client.racks()] == [("", 1)]
            assert [task.digest for task in client.node_tasks("a")] == [TASK]
            assert [place.name for place in client.get_swarm(TASK, "node").places] == ["a"]
            assert client.get_swarm(TASK, "zone").by == "zone"
            assert [(each.node, each.have) for each in client.pieces(TASK)] == [("a", 2)]
            assert client.get_pieces(TASK, node="nobody").maps == []
            assert (client.token().scope, list(client.rollouts())) == ("admin", [])
            done = [record.action for record in client.audit() if record.token]
            assert done[:2] == ["create_pull", "resolve"]
            for missing in (client.get_model, client.get_swarm, client.get_pieces, client.get_node_tasks):
                with pytest.raises(NotFound):
                    missing("nothing")

    await asyncio.to_thread(ask)
    async with control.client() as client:
        assert [task.digest async for task in client.node_tasks("a")] == [TASK]
        assert [each.node async for each in client.pieces(TASK)] == ["a"]
        assert [record.action async for record in client.audit() if record.token][:2] == ["create_pull", "resolve"]


async def test_pages_are_asked_for_as_they_are_wanted(
    control: ServedControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("asynchronous", "synchronous"):
        monkeypatch.setattr(f"modeldist.client.{module}.PAGE", 2)
    async with control.client() as client:
        made = [(await client.create_pull(REFERENCE)).id for _ in range(5)]
        assert [pull.id async for pull in client.pulls()] == made[::-1]
        assert [pull.id for pull in await asyncio.to_thread(every_pull, control)] == made[::-1]


def every_pull(control: ServedControlPlane) -> list[object]:
    with Client(control.url, control.admin_token) as client:
        return list(client.pulls())


async def test_a_webhook_is_verified(control: ServedControlPlane) -> None:
    with webhook_receiver() as receiver:
        async with control.client() as client:
            pull = await client.create_pull(REFERENCE, webhook=(receiver.url, SECRET))
            await client.cancel_pull(pull.id)
            came = await receiver.next()
            assert (await client.get_webhook(pull.id)).url == receiver.url.partition("?")[0]
    notice = verify_webhook(came.body, came.headers, SECRET)
    assert (notice.type, notice.data.id) == ("pull.cancelled", pull.id)
    sent = int(came.headers["webhook-timestamp"])
    shouted = {name.upper(): value for name, value in came.headers.items()}
    assert verify_webhook(came.body, shouted, SECRET, now=sent + 299).data.id == pull.id
    rotated = came.headers | {"webhook-signature": f"v1,AAAA v1a,BBBB {came.headers['webhook-signature']}"}
    assert verify_webhook(came.body, rotated, SECRET).type == "pull.cancelled"
    for body, headers, secret, now, said in (
        (came.body + b" ", came.headers, SECRET, sent, "signature"),
        (came.body, came.headers | {"webhook-id": "other"}, SECRET, sent, "signature"),
        (came.body, came.headers | {"webhook-timestamp": str(sent + 1)}, SECRET, sent, "signature"),
        (came.body, came.headers | {"webhook-signature": "v1,é"}, SECRET, sent, "signature"),
        (came.body, came.headers, "whsec_" + "B" * 44, sent, "signature"),
        (came.body, came.headers | {"webhook-timestamp": "noon"}, SECRET, sent, "no time"),
        (came.body, {}, SECRET, sent, "webhook-id is missing"),
        (came.body, came.headers, SECRET, sent + 301, "300 seconds"),
        (came.body, came.headers, SECRET, sent - 301, "300 seconds"),
    ):
        with pytest.raises(InvalidWebhook, match=said):
            verify_webhook(body, headers, secret, now=now)
    with pytest.raises(UsageError, match="secret"):
        verify_webhook(came.body, came.headers, "none")


def test_a_control_plane_that_says_nothing_is_not_waited_for_longer_than_asked() -> None:
    """As one that was stopped: the kernel still takes its connections."""
    with socket.create_server(("127.0.0.1", 0)) as stopped:
        url = f"http://127.0.0.1:{stopped.getsockname()[1]}"
        said = f"{url} does not answer: it said nothing for 0.2 s"
        with Client(url, "token", timeout=0.2) as client, pytest.raises(ControlPlaneUnreachable, match=said):
            client.status()


def test_nobody_answers() -> None:
    with (
        Client("http://127.0.0.1:1", "token") as client,
        pytest.raises(ControlPlaneUnreachable, match=r"127\.0\.0\.1:1"),
    ):
        client.status()
    with Client("http://127.0.0.1:1", "token") as client, pytest.raises(ControlPlaneUnreachable):
        next(client.stream_events("x"))
