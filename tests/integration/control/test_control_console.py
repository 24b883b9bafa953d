"""What the console is made of: its files, and the routes that it draws from. In a real browser: `make test-web`."""

from __future__ import annotations

import asyncio
import base64
import re
import zlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2

import modeldist.control
from modeldist.artifact import Digest
from modeldist.control.api.console import CONSOLE_PATHS
from modeldist.control.api.swarm import Where, swarm_view
from modeldist.scheduler.messages import (
    JoinTasks,
    Location,
    ParentReport,
    Parents,
    Priority,
    Report,
    TaskJoin,
    TaskReport,
)
from modeldist.scheduler.phase1.views import LeaseView, MemberView, TaskView
from modeldist.scheduler.pieces import PieceSet
from modeldist.session.messages import TaskJoined
from tests.servers.control_plane import ServedControlPlane
from tests.servers.scripted_agent import ScriptedAgent, scripted_agent

FOLDER = Path(modeldist.control.__file__).parent / "console"
MIB = 1 << 20
TASK = Digest("sha256:" + "a" * 64)


@asynccontextmanager
async def asking(control: ServedControlPlane, token: str | None = None) -> AsyncIterator[httpx2.AsyncClient]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with httpx2.AsyncClient(base_url=control.url, headers=headers, trust_env=False) as http:
        yield http


async def test_its_files_are_for_everybody_and_can_load_nothing_else(sqlite_control: ServedControlPlane) -> None:
    async with asking(sqlite_control) as http:
        for path in CONSOLE_PATHS - {"/console"}:
            answer = await http.get(path)
            assert answer.status_code == 200, path
            policy = dict(
                each.strip().partition(" ")[::2] for each in answer.headers["content-security-policy"].split(";")
            )
            assert policy["default-src"] == policy["form-action"] == policy["frame-ancestors"] == "'none'"
            assert {policy[f"{kind}-src"] for kind in ("script", "style", "connect", "img")} == {"'self'"}
            assert policy["trusted-types"] == "'none'" and policy["require-trusted-types-for"] == "'script'"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["referrer-policy"] == "no-referrer"
            again = await http.get(path, headers={"If-None-Match": answer.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")
        moved = await http.get("/console")
        assert (moved.status_code, moved.headers["location"]) == (308, "console/")
        assert (await http.get("/console/nothing.js")).status_code == 401
    async with asking(sqlite_control, sqlite_control.admin_token) as http:
        answer = await http.get("/console/nothing.js")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_nothing_in_its_files_makes_markup_of_text_or_comes_from_elsewhere() -> None:
    page = (FOLDER / "index.html").read_text()
    assert not re.search(r"\sstyle=|\son\w+=|<style", page)
    assert all(" src=" in script for script in re.findall(r"<script[^>]*>", page))
    for file in FOLDER.rglob("*.*"):
        text = file.read_text()
        assert set(re.findall(r"https?://[\w.]+", text)) <= {"http://www.w3.org"}, file
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\(|new Function", text), file
        assert "localStorage" not in text or file.name == "theme.js", "tokens are in none"


# --- a swarm as it is drawn ---


def member(node: str, have: int, *parents: str, origin: int = 0) -> MemberView:
    complete = have == 0b1111
    return MemberView(node, PieceSet(have), complete, True, Priority.PULL, have.bit_count() * MIB, origin, parents, 0)


def a_task(*members: MemberView, leases: tuple[LeaseView, ...] = ()) -> TaskView:
    held = PieceSet(0)
    for each in members:
        held |= each.have
    return TaskView(
        task=TASK,
        origin="registry.example",
        size=4 * MIB,
        piece_size=MIB,
        pieces=4,
        digests_known=4,
        held=held,
        holders=0,
        origin_bytes=2 * MIB,
        resets=0,
        askers=0,
        members=members,
        leases=leases,
    )


def where(node: str) -> Where:
    """`a1` is in rack a of zone z, `gone` away."""
    return Where(node, node[0], "z", connected=node != "gone")


RATES = {("a1", "a2"): 10.0, ("a1", "b1"): 5.0, ("a2", "b1"): 2.0}


def rate(parent: str, child: str) -> float | None:
    return RATES.get((parent, child))


def test_places_and_edges() -> None:
    lease = LeaseView(1, "a1", 2, 2, PieceSet(0b1100), bytes=0, age=0.0, idle=0.0, after=0)
    task = a_task(
        member("a1", 0b0011, origin=2 * MIB),
        member("a2", 0b0001, "a1"),
        member("b1", 0b0000, "a1", "a2"),
        member("gone", 0b1111, "a1"),
        leases=(lease,),
    )
    swarm = swarm_view(task, None, where, rate)
    assert swarm.by == "node"
    assert [(edge.parent, edge.child, edge.rate) for edge in swarm.edges] == [
        ("a1", "a2", 10.0),
        ("a1", "b1", 5.0),
        ("a2", "b1", 2.0),
    ]
    assert swarm.holders == [3.0, 2.0, 1.0, 1.0]
    assert {place.name: (place.away, place.reading) for place in swarm.places} == {
        "a1": (0, 1),
        "a2": (0, 0),
        "b1": (0, 0),
        "gone": (1, 0),
    }
    racks = swarm_view(task, "rack", where, rate)
    assert [(place.place, place.nodes, place.bytes_here) for place in racks.places] == [
        ("z/a", 2, 3 * MIB),
        ("z/b", 1, 0),
        ("z/g", 1, 4 * MIB),
    ]
    assert [(edge.parent, edge.child, edge.links, edge.rate) for edge in racks.edges] == [("z/a", "z/b", 2, 7.0)]
    assert racks.within == {"z/a": 10.0}
    zones = swarm_view(task, "zone", where, rate)
    assert ([place.name for place in zones.places], zones.edges, zones.within) == (["z"], [], {"z": 17.0})


def test_many_nodes_are_drawn_by_what_is_readable() -> None:
    nodes = [member(f"{chr(97 + number % 20)}{number}", 0) for number in range(100)]
    assert swarm_view(a_task(*nodes), None, where, rate).by == "rack"
    alone = {each.node: Where(each.node, each.node, "z", connected=True) for each in nodes}
    assert swarm_view(a_task(*nodes), None, alone.__getitem__, rate).by == "zone"


# --- over REST ---


async def feeding(stack: AsyncExitStack, control: ServedControlPlane) -> tuple[ScriptedAgent, ScriptedAgent]:
    """`a` has it all, `b` takes it from there."""
    agents = []
    for node, rack in (("a", "r1"), ("b", "r2")):
        agent = await stack.enter_async_context(
            scripted_agent(control.ws, control.agent_token, node, location=Location(rack, "z1"))
        )
        agents.append(agent)
        have = PieceSet.full(4).to_bytes() if node == "a" else b""
        await agent.send(JoinTasks((TaskJoin(TASK, 4 * MIB, "o", have, piece_size=MIB, seed_only=node == "a"),)))
        await agent.expect(TaskJoined)
    assert [parent.node for parent in (await agents[1].expect(Parents)).parents] == ["a"]
    return agents[0], agents[1]


async def test_the_swarm_over_rest(sqlite_control: ServedControlPlane) -> None:
    async with AsyncExitStack() as stack:
        _, child = await feeding(stack, sqlite_control)
        http = await stack.enter_async_context(asking(sqlite_control, await sqlite_control.read_token()))

        async def got(path: str) -> Any:
            answer = await http.get(f"/api/v1/{path}")
            assert answer.status_code == 200, answer.text
            return answer.json()

        flowing, number = None, 0
        async with asyncio.timeout(20):
            while not flowing:
                number += 1
                served = ParentReport("a", bytes=MIB, seconds=0.1)
                report = TaskReport(TASK, have=PieceSet(0b0101).to_bytes(), parents=(served,))
                await child.send(Report(number, tasks=(report,)))
                swarm = await got(f"tasks/{TASK}/swarm")
                flowing = [edge for edge in swarm["edges"] if edge["rate"] > 0]
                await asyncio.sleep(0.1)
        assert [(edge["parent"], edge["child"]) for edge in flowing] == [("a", "b")]
        assert swarm["holders"] == [2.0, 1.0, 2.0, 1.0]
        pieces = await got(f"tasks/{TASK}/pieces?limit=1&cursor=a")
        (found,) = pieces["maps"]
        assert (found["node"], found["have"], zlib.decompress(base64.b64decode(found["map"]))) == ("b", 2, b"\x05")
        assert (await got(f"tasks/{TASK}/pieces?node=a"))["maps"][0]["have"] == 4
        racks = (await got("racks"))["racks"]
        assert [(rack["zone"], rack["rack"], rack["known"], rack["connected"]) for rack in racks] == [
            ("z1", "r1", 1, 1),
            ("z1", "r2", 1, 1),
        ]
        assert (await got("racks?limit=1"))["next"] == "1"
        (taken,) = (await got("nodes/b/tasks"))["tasks"]
        assert (taken["bytes_here"], taken["complete"], taken["parents"]) == (2 * MIB, False, ["a"])
        for path in (f"tasks/{'x' * 9}/swarm", "tasks/x/pieces", "nodes/x/tasks", "pulls/x/shards", "models/x"):
            assert (await http.get(f"/api/v1/{path}")).status_code == 404, path


async def test_the_files_of_a_pull(sqlite_control: ServedControlPlane) -> None:
    async with asking(sqlite_control, sqlite_control.admin_token) as http:
        wanted = {"reference": "memory://org/model:v1", "nodes": "all"}
        pull = (await http.post("/api/v1/pulls", json=wanted)).json()["id"]
        before = (await http.get(f"/api/v1/pulls/{pull}/shards")).json()
        assert before == {"model": None, "shards": [], "next": None}
        model = (await http.post("/api/v1/resolve", json={"reference": "memory://org/model:v1"})).json()
        page = (await http.get(f"/api/v1/pulls/{pull}/shards?limit=1")).json()
        rest = (await http.get(f"/api/v1/pulls/{pull}/shards?cursor={page['next']}")).json()
        assert page["model"] == model["digest"]
        shards = [*page["shards"], *rest["shards"]]
        assert {shard["path"] for shard in shards} == {"config.json", "model.safetensors"}
        assert [shard["task"] for shard in shards] == [None, None]
        known = (await http.get(f"/api/v1/models/{model['digest']}")).json()
        assert (known["references"], known["files"], known["holders"]) == (["memory://org/model:v1"], 2, 0)


async def test_who_asks_and_who_did_what(sqlite_control: ServedControlPlane) -> None:
    reader = await sqlite_control.read_token()
    async with asking(sqlite_control, reader) as http:
        asked = (await http.get("/api/v1/token")).json()
        assert asked == {"name": "reader", "scope": "read", "expires_at": None}
        assert (await http.get("/api/v1/audit")).status_code == 403
    async with asking(sqlite_control, sqlite_control.admin_token) as http:
        await http.post("/api/v1/resolve", json={"reference": "memory://org/model:v1"})
        await http.get("/api/v1/status", headers={"Authorization": "Bearer nonsense"})
        page = (await http.get("/api/v1/audit?limit=2")).json()
        rest = (await http.get(f"/api/v1/audit?cursor={page['next']}")).json()
    told = [(each["token"], each["action"], each["outcome"]) for each in [*page["records"], *rest["records"]]]
    assert told == [("", "", 401), ("first admin", "resolve", 200), ("reader", "list_audit", 403)]
    assert page["records"][1]["object"] == "memory://org/model:v1"
