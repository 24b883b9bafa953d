"""Pin, unpin and evict over REST: asked of the nodes that are meant, and answered node by node."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2

from modeldist.control.store_commands import StoreCommands
from modeldist.errors import ModelPinned, NotFound
from modeldist.session.messages import StoreAnswer, StoreCommand
from tests.servers.control_plane import ServedControlPlane
from tests.servers.scripted_agent import PATIENCE, scripted_agent

REFERENCE = "memory://org/model:v1"


async def asked(control: ServedControlPlane, action: str, nodes: object, **more: object) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {control.admin_token}"}
    async with httpx2.AsyncClient(base_url=control.url, headers=headers, trust_env=False) as http:
        answer = await http.post(f"/api/v1/{action}", json={"reference": REFERENCE, "nodes": nodes} | more)
        return {"status": answer.status_code} | answer.json()


async def test_each_node_answers_for_itself(control: ServedControlPlane) -> None:
    async with (
        scripted_agent(control.ws, control.agent_token, "a", labels={"gpu": "h100"}) as a,
        scripted_agent(control.ws, control.agent_token, "b", labels={"gpu": "h100"}) as b,
        scripted_agent(control.ws, control.agent_token, "c"),
    ):
        evicting = asyncio.create_task(asked(control, "evict", {"labels": {"gpu": "h100"}}))
        first, second = await a.expect(StoreCommand), await b.expect(StoreCommand)
        assert (first.action, first.reference) == ("evict", REFERENCE)
        await b.send(StoreAnswer(second.request, error=ModelPinned("It is pinned.", remedy="Unpin it.").info()))
        await a.send(StoreAnswer(first.request, bytes_freed=7))
        answer = await evicting
        assert (answer["status"], answer["action"], answer["reference"]) == (200, "evict", REFERENCE)
        pinned = {"code": "pinned", "message": "It is pinned.", "remedy": "Unpin it."}
        assert answer["nodes"] == [
            {"node": "a", "state": "done", "bytes_freed": 7, "error": None},
            {"node": "b", "state": "failed", "bytes_freed": 0, "error": pinned},
        ]
        pinning = asyncio.create_task(asked(control, "pin", ["a"], selection={"only": ["*.json"]}))
        command = await a.expect(StoreCommand)
        assert (command.action, command.reference) == ("pin", f"{REFERENCE}#only=*.json")
        await a.send(StoreAnswer(command.request, error=NotFound("It is not here.").info()))
        (node,) = (await pinning)["nodes"]
        assert (node["state"], node["error"]["code"]) == ("absent", "not_found")


async def test_nodes_that_are_away_or_leave(control: ServedControlPlane) -> None:
    async with scripted_agent(control.ws, control.agent_token, "b") as b:
        unpinning = asyncio.create_task(asked(control, "unpin", "all"))
        await b.expect(StoreCommand)
        await b.connection.close()
        answer = await unpinning
        assert [(node["node"], node["state"], node["error"]["code"]) for node in answer["nodes"]] == [
            ("b", "failed", "control_unreachable")
        ]
    async with control.client() as client, asyncio.timeout(PATIENCE):
        while [node.connected for node in (await client.list_nodes()).nodes] != [False]:
            await asyncio.sleep(0.02)  # who was here is written down soon after
    answer = await asked(control, "pin", ["b"])
    assert [(node["state"], node["error"]["code"]) for node in answer["nodes"]] == [("failed", "control_unreachable")]
    assert (await asked(control, "evict", "all"))["nodes"] == []


async def test_nodes_that_cannot_be_meant(sqlite_control: ServedControlPlane) -> None:
    for nodes, status, code in (
        (["nobody"], 404, "not_found"),
        ({"labels": {"gpu": "none"}}, 404, "not_found"),
        ({"count": 1}, 422, "usage"),  # any one: which would that be?
        ({"labels": {"gpu": "h100"}, "count": 1}, 422, "usage"),
    ):
        answer = await asked(sqlite_control, "evict", nodes)
        assert (answer["status"], answer["code"]) == (status, code), nodes


async def test_a_node_that_says_nothing() -> None:
    commands = StoreCommands(lambda node, message: True, patience=0.0)
    answers = await commands.ask(["a"], "pin", REFERENCE)
    assert answers["a"].error is not None
    assert answers["a"].error.code == "agent"
    commands.answered("a", StoreAnswer(1))  # too late, and harmless
