"""Harbor's Dragonfly driver against this control plane: what it sends, as it sends it, and what it reads of answers.

The request is what Harbor makes of its structs (`src/pkg/p2p/preheat/provider/dragonfly.go`, its driver for
Dragonfly 2): every field is there, also those that it never sets.
"""

from __future__ import annotations

import copy
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from modeldist.errors import ErrorInfo
from modeldist.scheduler.messages import Priority
from modeldist.session.messages import PullProgress, StartPull
from tests.servers.control_plane import ServedControlPlane, served_control_plane
from tests.servers.followed_pulls import ended, reached
from tests.servers.memory_origin import MemoryOrigin
from tests.servers.scripted_agent import scripted_agent

URL = "https://harbor.example/v2/library/model/manifests/v1"
REFERENCE = "harbor.example/library/model:v1"
SECRET = "Bearer eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.robot"

JOB: dict[str, Any] = {
    "type": "preheat",
    "args": {
        "type": "image",
        "url": URL,
        "tag": "",
        "filtered_query_params": "",
        "headers": {"Authorization": SECRET},
        "scope": "all_peers",
        "concurrent_count": 0,
        "timeout": 0,
    },
    "scheduler_cluster_ids": None,
}


def job(**args: object) -> dict[str, Any]:
    """Harbor's request with other arguments."""
    changed = copy.deepcopy(JOB)
    changed["args"] |= args
    return changed


class Harbor:
    """Asks as Harbor's driver does."""

    def __init__(self, url: str, token: str) -> None:
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        self.http = httpx2.AsyncClient(base_url=url, headers=headers, trust_env=False)

    async def preheat(self, request: dict[str, Any]) -> dict[str, Any]:
        answer = await self.http.post("/oapi/v1/jobs", json=request)
        assert answer.status_code == 200, answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def check(self, number: int) -> dict[str, Any]:
        answer = await self.http.get(f"/oapi/v1/jobs/{number}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture
async def harbor(control: ServedControlPlane) -> AsyncIterator[Harbor]:
    asking = Harbor(control.url, control.admin_token)
    async with asking.http:
        yield asking


async def test_a_preheat_of_harbor_is_a_prefetch(control: ServedControlPlane, harbor: Harbor) -> None:
    ws, token = control.ws, control.agent_token
    async with (
        scripted_agent(ws, token, "id-a", name="a", address="10.0.0.7:4000") as a,
        scripted_agent(ws, token, "id-b", name="b", address="[fd00::8]:4000") as b,
        control.client() as client,
    ):
        made = await harbor.preheat(JOB)
        assert type(made["id"]) is int
        assert made["state"] == "PENDING"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", made["created_at"])  # Go's time.Time reads only this
        for agent in (a, b):
            asked = await agent.expect(StartPull)
            assert asked == StartPull(made["task_id"], REFERENCE, Priority.PREFETCH)
            if agent is a:
                await agent.finish(asked)
        assert (await harbor.check(made["id"]))["state"] == "PENDING"
        await b.finish(StartPull(made["task_id"], REFERENCE))
        await ended(client, made["task_id"])
        done = await harbor.check(made["id"])
        assert done["state"] == "SUCCESS"
        result = done["result"]["job_states"][0]["results"][0]
        assert result["failure_tasks"] == []
        assert [(task["url"], task["hostname"], task["ip"]) for task in result["success_tasks"]] == [
            (URL, "a", "10.0.0.7"),
            (URL, "b", "fd00::8"),
        ]
        assert done["updated_at"] >= done["created_at"]
        pull = await client.get_pull(made["task_id"])
        assert (pull.priority, pull.reference, pull.selector.everyone) == ("prefetch", REFERENCE, True)


async def test_a_preheat_that_fails_tells_harbor_why(control: ServedControlPlane, harbor: Harbor) -> None:
    async with scripted_agent(control.ws, control.agent_token, "id-a", name="a") as agent, control.client() as client:
        made = await harbor.preheat(job(scope="single_peer"))
        asked = await agent.expect(StartPull)
        error = ErrorInfo("unauthorized", "harbor.example wants credentials.", "Log in on the node.")
        await agent.send(PullProgress(asked.pull, "failed", error=error))
        await ended(client, made["task_id"])
        failed = await harbor.check(made["id"])
        assert failed["state"] == "FAILURE"
        [state] = failed["result"]["job_states"]
        assert state["error"] == (
            f"{REFERENCE}: failed; 1 of 1 nodes do not have it. "
            "a: harbor.example wants credentials. Log in on the node."
        )
        assert state["results"][0]["failure_tasks"][0]["description"] == "harbor.example wants credentials."
        cancelled = await harbor.preheat(job(scope="single_peer"))
        await client.cancel_pull(cancelled["task_id"])
        assert (await harbor.check(cancelled["id"]))["state"] == "FAILURE"


async def test_the_scopes_of_harbor(control: ServedControlPlane, harbor: Harbor) -> None:
    ws, token = control.ws, control.agent_token
    async with (
        scripted_agent(ws, token, "a", labels={"seed": "true"}),
        scripted_agent(ws, token, "b", labels={"seed": "true"}),
        scripted_agent(ws, token, "c"),
        scripted_agent(ws, token, "d"),
        control.client() as client,
    ):

        async def meant(**args: object) -> int:
            made = await harbor.preheat(job(**args))
            nodes = (await client.get_pull(made["task_id"])).nodes
            if args["scope"] == "all_seed_peers":
                assert {node.node for node in nodes} <= {"a", "b"}
            return len(nodes)

        assert await meant(scope="single_peer") == 1
        assert await meant(scope="single_seed_peer") == 1
        assert await meant(scope="") == 1
        assert await meant(scope="all_peers") == 4
        assert await meant(scope="all_peers", count=3) == 3
        assert await meant(scope="all_peers", percentage=50) == 2
        assert await meant(scope="all_peers", count=1, percentage=100) == 1  # the count comes first
        assert await meant(scope="all_seed_peers") == 2
        assert await meant(scope="all_seed_peers", percentage=50) == 1


MANIFESTS = [
    ("http://127.0.0.1:5000/v2/org/model/manifests/v1", "127.0.0.1:5000/org/model:v1"),
    (
        f"https://harbor.example:8443/v2/a/b/c/manifests/sha256:{'0' * 64}",
        f"harbor.example:8443/a/b/c@sha256:{'0' * 64}",
    ),
    ("https://Harbor.Example/v2/library/model/manifests/latest", "harbor.example/library/model:latest"),
    ("https://harbor/v2/library/model/manifests/v1", "harbor:443/library/model:v1"),
    ("http://harbor/v2/library/model/manifests/v1", "harbor:80/library/model:v1"),
]


async def test_references_of_manifest_urls(sqlite_control: ServedControlPlane) -> None:
    harbor = Harbor(sqlite_control.url, sqlite_control.admin_token)
    async with harbor.http, sqlite_control.client() as client:
        for url, reference in MANIFESTS:
            made = await harbor.preheat(job(url=url))
            assert (await client.get_pull(made["task_id"])).reference == reference
            assert (await harbor.check(made["id"]))["args"] == {"type": "image", "url": url}


async def test_a_timeout_is_a_deadline(tmp_path: Path) -> None:
    async with (
        served_control_plane(tmp_path / "state", MemoryOrigin(), now=lambda: 1_000_000.0) as control,
        control.client() as client,
    ):
        harbor = Harbor(control.url, control.admin_token)
        async with harbor.http:
            for timeout, deadline in ((90 * 10**9, 1_000_090.0), (0, None)):  # Go's time.Duration: nanoseconds
                made = await harbor.preheat(job(timeout=timeout))
                assert (await client.get_pull(made["task_id"])).deadline == deadline


OLDER: dict[str, Any] = {
    "type": "image",
    "url": URL,
    "headers": {"Authorization": SECRET},
    "image": "library/model",
    "tag": "v1",
    "digest": "sha256:" + "0" * 64,
}
"""What older releases make of their PreheatImage (`preheat_image.go`, its driver for Dragonfly 1)."""


async def test_an_older_harbor_preheats(control: ServedControlPlane, harbor: Harbor) -> None:
    async with scripted_agent(control.ws, control.agent_token, "id-a", name="a") as agent, control.client() as client:
        assert (await harbor.http.get("/_ping")).status_code == 200

        async def created(**more: object) -> str:
            answer = await harbor.http.post("/preheats", json=OLDER | more)
            assert answer.status_code == 200, answer.text  # 208 would mean: nothing to do
            return str(answer.json()["ID"])

        async def check(preheat: str) -> dict[str, Any]:
            answer = await harbor.http.get(f"/preheats/{preheat}")
            assert answer.status_code == 200, answer.text
            found: dict[str, Any] = answer.json()
            return found

        preheat = await created()
        asked = await agent.expect(StartPull)
        assert asked == StartPull(preheat, REFERENCE, Priority.PREFETCH)
        waiting = await check(preheat)
        assert (waiting["ID"], waiting["Status"], waiting["errorMsg"]) == (preheat, "WAITING", "")
        await agent.send(PullProgress(preheat, "pulling"))
        await reached(client, preheat, {"pulling": 1})
        assert (await check(preheat))["Status"] == "RUNNING"
        await agent.finish(asked)
        await ended(client, preheat)
        done = await check(preheat)
        assert done["Status"] == "SUCCESS"
        assert done["startTime"] <= done["finishTime"]
        failing = await created(scope="all_peers")
        error = ErrorInfo("unauthorized", "harbor.example wants credentials.", "Log in on the node.")
        await agent.send(PullProgress(failing, "failed", error=error))
        await ended(client, failing)
        failed = await check(failing)
        assert failed["Status"] == "FAIL"
        assert "a: harbor.example wants credentials." in failed["errorMsg"]
        assert SECRET not in str((done, failed, await client.get_pull(failing)))
        assert (await harbor.http.get("/preheats/nothing")).status_code == 404
        refused = await harbor.http.post("/preheats", json=OLDER | {"type": "file"})
        assert (refused.status_code, refused.json()["code"]) == (422, "unsupported")


NO_JOBS: list[tuple[dict[str, Any], int, str, str]] = [
    (job(type="file"), 422, "unsupported", "'file'"),
    (JOB | {"type": "sync_peers"}, 422, "unsupported", "'sync_peers'"),
    (job(ips=["10.0.0.1"]), 422, "unsupported", "IP address"),
    (job(scope="some_peers"), 400, "usage", "'some_peers'"),
    (job(scope="single_peer"), 409, "not_enough_nodes", "0 are connected"),
    (job(scope="all_seed_peers"), 404, "not_found", "seed=true"),
    (job(url="https://harbor.example/library/model:v1"), 400, "invalid_reference", "URL of an image's manifest"),
    (job(url="ftp://harbor.example/v2/a/manifests/v1"), 400, "invalid_reference", "URL of an image's manifest"),
    (job(url="https://[/v2/a/manifests/v1"), 400, "invalid_reference", "URL of an image's manifest"),
    (job(url="https://harbor.example:x/v2/a/manifests/v1"), 400, "invalid_reference", "URL of an image's manifest"),
    (job(url="https://harbor.example/v2/A!/manifests/v1"), 400, "invalid_reference", "A!"),
    (job(url="https://u:hidden@harbor.example/v2/a/manifests/v1"), 400, "invalid_reference", "manifest"),
    (job(url=""), 422, "usage", "body.args.url"),
    ({"type": "preheat"}, 422, "usage", "body.args"),
]


async def test_jobs_that_cannot_be(sqlite_control: ServedControlPlane) -> None:
    harbor = Harbor(sqlite_control.url, sqlite_control.admin_token)
    async with harbor.http, sqlite_control.client() as client:
        for asked, status, code, said in NO_JOBS:
            answer = await harbor.http.post("/oapi/v1/jobs", json=asked)
            assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
            assert said in answer.json()["detail"]
            assert "hidden" not in answer.text
            assert answer.json()["remedy"]
        assert (await client.list_pulls()).pulls == []


async def test_jobs_that_nobody_asked_for(control: ServedControlPlane, harbor: Harbor) -> None:
    for number, status in (("1", 404), ("0", 422), ("99999999999999999999", 422), ("x", 422)):
        answer = await harbor.http.get(f"/oapi/v1/jobs/{number}")
        assert answer.status_code == status, number
        assert answer.headers["content-type"] == "application/problem+json"


async def test_the_health_check_tells_whether_the_token_will_do(sqlite_control: ServedControlPlane) -> None:
    tokens = {
        sqlite_control.admin_token: 200,
        await sqlite_control.read_token(): 403,
        sqlite_control.agent_token: 403,
        "wrong": 401,
    }
    for token, status in tokens.items():
        harbor = Harbor(sqlite_control.url, token)
        async with harbor.http:
            assert (await harbor.http.get("/healthy")).status_code == status
            assert (await harbor.http.post("/oapi/v1/jobs", json=JOB)).status_code == status


async def test_a_restart_keeps_jobs_and_harbors_own_token_is_nowhere(
    tmp_path: Path, origin: MemoryOrigin, database_url: str
) -> None:
    state = tmp_path / "state"
    async with served_control_plane(state, origin, database_url) as before:
        harbor = Harbor(before.url, before.admin_token)
        async with harbor.http:
            made = await harbor.preheat(JOB)
            assert SECRET not in str(made)
    async with served_control_plane(state, origin, database_url) as after:
        harbor = Harbor(after.url, after.admin_token)
        async with harbor.http:
            assert await harbor.check(made["id"]) == made
            assert (await harbor.preheat(JOB))["id"] > made["id"]
        async with scripted_agent(after.ws, after.agent_token, "a") as agent:
            assert (await agent.expect(StartPull)).reference == REFERENCE
    for file in tmp_path.rglob("*.sqlite*"):
        assert b"robot" not in file.read_bytes()
