"""Pulls over REST, carried out by agents that speak the real session."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx2
import pytest

from modeldist.client import PullEvent
from modeldist.errors import (
    ControlPlaneUnreachable,
    ErrorInfo,
    InvalidReference,
    NotFound,
    Overloaded,
    UsageError,
)
from modeldist.scheduler.messages import Priority
from modeldist.session.messages import CancelPull, PullProgress, StartPull
from tests.servers.control_plane import ServedControlPlane, served_control_plane
from tests.servers.followed_pulls import ended, reached
from tests.servers.memory_origin import MemoryOrigin
from tests.servers.scripted_agent import scripted_agent

REFERENCE = "memory://org/model:v1"


async def test_a_part_is_selected_in_the_body_or_in_the_reference(control: ServedControlPlane) -> None:
    async with control.client() as client, scripted_agent(control.ws, control.agent_token, "a") as a:
        selection = {"only": ["*.json", "*.model"], "rank": "pp=0/2"}
        made = await client.create_pull(REFERENCE, ["a"], selection=selection)
        assert made.reference == f"{REFERENCE}#only=*.json&only=*.model&rank=pp=0/2"
        assert (await a.expect(StartPull)).reference == made.reference
        written = await client.create_pull(f"{REFERENCE}#rank=pp=0/2&only=*.model&only=*.json", ["a"])
        assert written.reference == made.reference
        with pytest.raises(UsageError, match="tp=9/4"):
            await client.create_pull(REFERENCE, ["a"], selection={"rank": "tp=9/4"})
        with pytest.raises(InvalidReference, match="selects already"):
            await client.create_pull(f"{REFERENCE}#kind=doc", ["a"], selection={"kinds": ["code"]})
        with pytest.raises(InvalidReference, match="pattern"):
            await client.create_pull(f"{REFERENCE}#only=[a", ["a"])


async def test_a_pull_on_all_nodes(control: ServedControlPlane) -> None:
    async with (
        control.client() as client,
        scripted_agent(control.ws, control.agent_token, "a") as a,
        scripted_agent(control.ws, control.agent_token, "b") as b,
    ):
        made = await client.create_pull(REFERENCE, "all", priority="serving")
        assert (made.state, made.priority, made.states) == ("running", "serving", {"waiting": 2})
        for agent, read in ((a, 100), (b, 0)):
            asked = await agent.expect(StartPull)
            assert asked == StartPull(made.id, REFERENCE, Priority.SERVING)
            await agent.finish(asked, origin=read)
        pull = await ended(client, made.id)
        assert pull.state == "done"
        assert pull.finished_at is not None
        assert pull.states == {"done": 2}
        assert (pull.bytes.total, pull.bytes.origin, pull.bytes.peers) == (200, 100, 100)
        assert [node.path for node in pull.nodes] == [f"/models/{REFERENCE}"] * 2
        assert (await client.get_pull(made.id)).nodes == pull.nodes


async def test_a_node_that_joins_takes_part_while_all_are_meant(control: ServedControlPlane) -> None:
    async with control.client() as client, scripted_agent(control.ws, control.agent_token, "a") as a:
        made = await client.create_pull(REFERENCE)
        fixed = await client.create_pull(REFERENCE, ["a"])
        async with scripted_agent(control.ws, control.agent_token, "late") as late:
            asked = await late.expect(StartPull)
            assert asked.pull == made.id
            await late.finish(asked)
            for _ in range(2):
                await a.finish(await a.expect(StartPull))
            assert [node.node for node in (await ended(client, made.id)).nodes] == ["a", "late"]
            assert [node.node for node in (await ended(client, fixed.id)).nodes] == ["a"]
        async with scripted_agent(control.ws, control.agent_token, "too-late"):
            assert (await client.get_pull(made.id)).states == {"done": 2}


async def test_all_without_a_node_waits_for_the_first(control: ServedControlPlane) -> None:
    async with control.client() as client:
        made = await client.create_pull(REFERENCE)
        assert (made.state, made.nodes) == ("running", [])
        async with scripted_agent(control.ws, control.agent_token, "first") as agent:
            await agent.finish(await agent.expect(StartPull))
            assert (await ended(client, made.id)).states == {"done": 1}


async def test_labels_count_and_names(control: ServedControlPlane) -> None:
    ws, token = control.ws, control.agent_token
    async with (
        control.client() as client,
        scripted_agent(ws, token, "id-a", name="a", labels={"gpu": "h100", "pool": "x"}),
        scripted_agent(ws, token, "id-b", name="b", labels={"gpu": "h100"}),
        scripted_agent(ws, token, "id-c", name="c"),
    ):

        async def meant(nodes: object) -> list[str]:
            made = await client.create_pull(REFERENCE, nodes)  # type: ignore[arg-type]
            return [node.node for node in made.nodes]

        assert await meant({"labels": {"gpu": "h100"}}) == ["id-a", "id-b"]
        assert await meant({"labels": {"gpu": "h100", "pool": "x"}}) == ["id-a"]
        assert await meant({"count": 1}) == ["id-c"]  # the least busy
        assert await meant(["b", "id-c"]) == ["id-b", "id-c"]
        assert await meant({"percentage": 1}) == ["id-a"]  # each has two by now
        assert await meant({"percentage": 100}) == ["id-a", "id-b", "id-c"]
        assert await meant({"labels": {"gpu": "h100"}, "percentage": 50}) == ["id-b"]
        assert await meant({"labels": {"gpu": "h100"}, "count": 1}) == ["id-a"]
        newest = (await client.list_pulls(limit=1)).pulls[0]
        assert (newest.selector.labels, newest.selector.count) == ({"gpu": "h100"}, 1)
        with pytest.raises(NotFound, match="gpu=none"):
            await meant({"labels": {"gpu": "none"}})
        with pytest.raises(UsageError, match="9 nodes were asked for and 3 are connected"):
            await meant({"count": 9})
        with pytest.raises(NotFound, match="'stranger'"):
            await meant(["stranger"])


NOT_NODES: list[tuple[object, str]] = [
    ({"percentage": 0}, "body.nodes.percentage.percentage: Input should be greater than or equal to 1."),
    ({"percentage": 101}, "body.nodes.percentage.percentage: Input should be less than or equal to 100."),
    ({"percentage": 5, "count": 5}, "body.nodes.count.percentage: Extra inputs are not permitted."),
    ({"labels": {"a": "b"}, "percentage": 5, "count": 5}, "body.nodes.labels: Write either count or percentage."),
    ({"labels": {}, "percentage": 5}, "body.nodes.labels.labels: Dictionary should have at least 1 item"),
    ({"share": 5}, '{"labels": {…}}, {"count": N} or {"percentage": P}'),
    ([], "body.nodes.names: List should have at least 1 item"),
]


async def test_nodes_that_cannot_be_meant(sqlite_control: ServedControlPlane) -> None:
    headers = {"Authorization": f"Bearer {sqlite_control.admin_token}"}
    async with httpx2.AsyncClient(base_url=sqlite_control.url, headers=headers, trust_env=False) as http:
        for nodes, said in NOT_NODES:
            answer = await http.post("/api/v1/pulls", json={"reference": REFERENCE, "nodes": nodes})
            assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json"), nodes
            assert answer.json()["code"] == "usage"
            assert said in answer.json()["detail"]


async def test_a_failure_names_the_node_and_the_reason(control: ServedControlPlane) -> None:
    async with control.client() as client, scripted_agent(control.ws, control.agent_token, "a") as agent:
        made = await client.create_pull(REFERENCE)
        asked = await agent.expect(StartPull)
        error = ErrorInfo("not_enough_space", "The disk\0 of a is full.", "Free some.")
        await agent.send(PullProgress(asked.pull, "failed", bytes_total=1 << 80 >> 17, error=error))
        pull = await ended(client, made.id)
        assert pull.state == "failed"
        assert pull.nodes[0].error is not None
        assert pull.nodes[0].error.code == "not_enough_space"
        assert pull.nodes[0].error.message == "The disk� of a is full."
        assert await client.get_pull(made.id) == pull


async def test_cancelling(control: ServedControlPlane) -> None:
    async with control.client() as client, scripted_agent(control.ws, control.agent_token, "a") as agent:
        made = await client.create_pull(REFERENCE)
        asked = await agent.expect(StartPull)
        cancelled = await client.cancel_pull(made.id)
        assert (cancelled.state, cancelled.states) == ("cancelled", {"cancelled": 1})
        assert await agent.expect(CancelPull) == CancelPull(made.id)
        # It did not hear it, and goes on: it is told again.
        await agent.send(PullProgress(asked.pull, "pulling"))
        assert await agent.expect(CancelPull) == CancelPull(made.id)
        assert (await client.cancel_pull(made.id)).state == "cancelled"
        await agent.send(PullProgress("pull-nobody-knows", "pulling"))
        assert await agent.expect(CancelPull) == CancelPull("pull-nobody-knows")
        with pytest.raises(NotFound):
            await client.cancel_pull("x")


async def test_idempotency_keys(control: ServedControlPlane) -> None:
    async with control.client() as client, scripted_agent(control.ws, control.agent_token, "a") as agent:
        made = await asyncio.gather(*(client.create_pull(REFERENCE, idempotency_key="rollout-7") for _ in range(5)))
        assert len({pull.id for pull in made}) == 1
        with pytest.raises(UsageError, match="rollout-7"):
            await client.create_pull(REFERENCE, ["a"], idempotency_key="rollout-7")
        await agent.finish(await agent.expect(StartPull))
        await ended(client, made[0].id)
        again = await client.create_pull(REFERENCE, idempotency_key="rollout-7")
        assert (again.id, again.state) == (made[0].id, "done")
        assert len((await client.list_pulls()).pulls) == 1


async def test_a_key_of_another_request_is_refused(sqlite_control: ServedControlPlane) -> None:
    headers = {"Authorization": f"Bearer {sqlite_control.admin_token}", "Idempotency-Key": "k"}
    async with httpx2.AsyncClient(base_url=sqlite_control.url, headers=headers, trust_env=False) as http:
        bodies = [{"reference": name, "nodes": "all"} for name in (REFERENCE, REFERENCE, "org/other:v1")]
        answers = [await http.post("/api/v1/pulls", json=body) for body in bodies]
    assert [answer.status_code for answer in answers] == [202, 202, 422]
    assert [answer.headers.get("idempotency-replayed") for answer in answers] == [None, "true", None]
    assert answers[0].headers["location"] == f"/api/v1/pulls/{answers[0].json()['id']}"
    assert answers[2].json()["code"] == "idempotency_key_reused"


async def test_pages(control: ServedControlPlane) -> None:
    async with control.client() as client:
        made = [(await client.create_pull(REFERENCE, idempotency_key=f"k{n}")).id for n in range(5)]
        await client.cancel_pull(made[0])
        newest_first = sorted(made, reverse=True)
        seen: list[str] = []
        cursor = None
        while True:
            page = await client.list_pulls(cursor=cursor, limit=2)
            seen += [pull.id for pull in page.pulls]
            assert len(page.pulls) <= 2
            if (cursor := page.next) is None:
                break
        assert seen == newest_first
        with pytest.raises(UsageError, match="limit"):
            await client.list_pulls(limit=100_000)


async def test_wrong_references(sqlite_control: ServedControlPlane) -> None:
    async with sqlite_control.client() as client:
        with pytest.raises(UsageError, match="2048"):
            await client.create_pull("x" * 5000)
        with pytest.raises(InvalidReference, match="2048 bytes"):
            await client.create_pull("ü" * 1500)
        with pytest.raises(InvalidReference, match="white space"):
            await client.create_pull("org/model :v1")


async def test_a_restart_keeps_pulls(tmp_path: Path, origin: MemoryOrigin, database_url: str) -> None:
    state = tmp_path / "state"
    async with served_control_plane(state, origin, database_url) as before, before.client() as client:
        async with (
            scripted_agent(before.ws, before.agent_token, "a") as a,
            scripted_agent(before.ws, before.agent_token, "b") as b,
        ):
            made = await client.create_pull(REFERENCE, ["a", "b"])
            everyone = await client.create_pull(REFERENCE, "all")
            first = await a.expect(StartPull)
            await a.finish(first)
            await b.send(PullProgress((await b.expect(StartPull)).pull, "pulling", bytes_total=100, bytes_origin=7))
            await reached(client, made.id, {"done": 1, "pulling": 1})
        tokens = before.agent_token
    async with served_control_plane(state, origin, database_url) as after, after.client() as client:
        assert after.agent_token == tokens
        kept = await client.get_pull(made.id)
        assert (kept.state, kept.states) == ("running", {"done": 1, "pulling": 1})
        assert kept.bytes.origin == 107
        async with (
            scripted_agent(after.ws, after.agent_token, "a") as a,
            scripted_agent(after.ws, after.agent_token, "b") as b,
        ):
            # What a finished is not asked of it again; the pull that it did not begin is.
            assert (await a.expect(StartPull)).pull == everyone.id
            assert {(await b.expect(StartPull)).pull for _ in range(2)} == {made.id, everyone.id}
            await b.finish(StartPull(made.id, REFERENCE))
            assert (await ended(client, made.id)).state == "done"


async def test_reconnecting_agents_are_asked_again(control: ServedControlPlane) -> None:
    async with control.client() as client:
        async with scripted_agent(control.ws, control.agent_token, "a") as agent:
            made = await client.create_pull(REFERENCE)
            await agent.expect(StartPull)
        async with scripted_agent(control.ws, control.agent_token, "a") as agent:
            assert (await agent.expect(StartPull)).pull == made.id


async def test_events(control: ServedControlPlane) -> None:
    async with control.client() as client, scripted_agent(control.ws, control.agent_token, "a") as agent:
        made = await client.create_pull(REFERENCE)
        asked = await agent.expect(StartPull)
        events: list[PullEvent] = []
        async for event in client.stream_events(made.id):
            events.append(event)
            if event.kind == "snapshot":
                await agent.send(PullProgress(asked.pull, "pulling", bytes_total=100, bytes_origin=50))
            elif event.node is not None and event.node.state == "pulling":
                assert event.node.bytes.origin == 50
                await agent.finish(asked)
        assert (events[0].kind, events[-1].kind) == ("snapshot", "end")
        states = [event.node.state for event in events if event.node]
        assert states[0] == "pulling"
        assert states[-1] == "done"
        after = [event.kind async for event in client.stream_events(made.id)]
        assert after == ["snapshot", "end"]
        with pytest.raises(NotFound):
            [event async for event in client.stream_events("x")]


async def test_the_stream_on_the_wire(sqlite_control: ServedControlPlane) -> None:
    async with sqlite_control.client() as client:
        made = await client.create_pull(REFERENCE)
        await client.cancel_pull(made.id)
    headers = {"Authorization": f"Bearer {sqlite_control.admin_token}", "Last-Event-ID": "41"}
    async with httpx2.AsyncClient(trust_env=False) as http:
        answer = await http.get(f"{sqlite_control.url}/api/v1/pulls/{made.id}/events", headers=headers)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    blocks = answer.text.strip().split("\n\n")
    assert [block.split("\n")[0] for block in blocks] == ["event: snapshot", "event: end"]
    assert [block.split("\n")[1] for block in blocks] == ["id: 1", "id: 2"]


async def test_stopping_ends_the_streams(tmp_path: Path, origin: MemoryOrigin) -> None:
    async with served_control_plane(tmp_path / "state", origin) as served:
        client = served.client()
        made = await client.create_pull(REFERENCE)
        stream = client.stream_events(made.id)
        assert (await anext(stream)).kind == "snapshot"
        waiting = asyncio.create_task(anext(stream))
    async with client:
        with pytest.raises(ControlPlaneUnreachable):
            await waiting


async def test_running_pulls_are_bounded(tmp_path: Path, origin: MemoryOrigin) -> None:
    async with (
        served_control_plane(tmp_path / "state", origin, most_running_pulls=1) as served,
        served.client() as client,
    ):
        await client.create_pull(REFERENCE)
        with pytest.raises(Overloaded, match="1 pulls run already") as refused:
            await client.create_pull(REFERENCE)
        assert refused.value.retry_after
