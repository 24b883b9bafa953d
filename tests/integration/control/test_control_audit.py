"""Who did what, and what of those who guess."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets.asyncio.client import connect

from modeldist.control.api.failed_logins import FailedLogins
from modeldist.session.messages import PATH, encode
from tests.integration.control.test_control_process import process, token
from tests.servers.control_plane import ServedControlPlane, served_control_plane
from tests.servers.files import Nginx
from tests.servers.memory_origin import MemoryOrigin
from tests.servers.scripted_agent import PATIENCE, hello, scripted_agent

REFERENCE = "https://models.example/model.safetensors?token=in-the-query-77"
WRONG = {"Authorization": "Bearer md_0123456789abcdef_" + "0" * 64}


async def test_records_of_who_did_what(tmp_path: Path) -> None:
    async with process(tmp_path) as (running, url):
        admin, agent = token(tmp_path, "admin"), token(tmp_path, "agent")
        headers = {"Authorization": f"Bearer {admin}"}
        async with httpx2.AsyncClient(base_url=f"{url}/api/v1", trust_env=False) as http:
            made = await http.post("/pulls", json={"reference": REFERENCE, "nodes": "all"}, headers=headers)
            pull = made.json()["id"]
            await http.get("/pulls", headers=headers)  # looking is no deed
            await http.delete(f"/pulls/{pull}", headers=headers)
            await http.post("/evict", json={"reference": "org/model:v1", "nodes": "all"}, headers=headers)
            await http.get("/pulls", headers={"Authorization": f"Bearer {agent}"})
            await http.get("/pulls", headers=WRONG)
        async with scripted_agent(url.replace("http", "ws") + "/session", agent, "a"):
            pass
        running.terminate()
        _, said = await running.communicate()
    records = [json.loads(line) for line in said.splitlines()]
    audit = [record for record in records if record["logger"] == "modeldist.audit"]
    told = [(each.get("token"), each.get("action"), each["asked"], each["outcome"]) for each in audit]
    assert told == [
        ("first admin", "create_pull", "POST /api/v1/pulls", 202),
        ("first admin", "cancel_pull", f"DELETE /api/v1/pulls/{pull}", 200),
        ("first admin", "evict", "POST /api/v1/evict", 200),
        ("first agent", "list_pulls", "GET /api/v1/pulls", 403),
        (None, None, "GET /api/v1/pulls", 401),
        ("first agent", "session", "WEBSOCKET /session", 101),
    ]
    assert audit[0]["object"] == f"{pull} https://models.example/model.safetensors"
    assert audit[2]["object"] == "org/model:v1"
    assert audit[5]["object"] == "a a"
    assert {record["client"] for record in audit} == {"127.0.0.1"}
    for secret in (admin, agent, "in-the-query-77", WRONG["Authorization"]):
        assert secret.encode() not in said


@pytest.fixture
async def strict(tmp_path: Path) -> Any:
    async with served_control_plane(tmp_path / "state", MemoryOrigin(), failed_logins=5) as served:
        yield served


async def test_who_shows_wrong_tokens_is_told_to_wait_and_keeps_nobody_out(strict: ServedControlPlane) -> None:
    async with httpx2.AsyncClient(base_url=strict.url, trust_env=False) as http:
        statuses = [(await http.get("/api/v1/status", headers=WRONG)).status_code for _ in range(5)]
        assert statuses == [401] * 5
        waiting = await http.get("/api/v1/status", headers=WRONG)
        assert (waiting.status_code, waiting.headers["retry-after"]) == (429, "2")
        assert waiting.json()["code"] == "control_refused"
        good = {"Authorization": f"Bearer {strict.admin_token}"}
        assert (await http.get("/api/v1/status", headers=good)).status_code == 200


async def test_nobody_says_for_themselves_which_address_they_are_at(strict: ServedControlPlane) -> None:
    async with httpx2.AsyncClient(base_url=strict.url, trust_env=False) as http:
        elsewhere = [{**WRONG, "X-Forwarded-For": f"192.0.2.{number}"} for number in range(6)]
        statuses = [(await http.get("/api/v1/status", headers=headers)).status_code for headers in elsewhere]
    assert statuses == [401] * 5 + [429]


async def test_a_trusted_proxy_says_which_address_its_clients_are_at(tmp_path: Path) -> None:
    """Each client has a share of its own, and cannot get another by what it says itself."""

    def said(name: str) -> dict[str, str]:
        return {"X-Forwarded-For": name}

    proxies = ("127.0.0.0/8",)
    async with (
        served_control_plane(tmp_path, MemoryOrigin(), failed_logins=5, trusted_proxies=proxies) as served,
        httpx2.AsyncClient(base_url=served.url, trust_env=False) as http,
    ):

        async def ask(address: str) -> int:
            return (await http.get("/api/v1/status", headers={**WRONG, **said(address)})).status_code

        assert [await ask("192.0.2.1") for _ in range(6)] == [401] * 5 + [429]
        assert [await ask(f"198.51.100.{number}, 192.0.2.1") for number in range(3)] == [429] * 3
        assert await ask("192.0.2.2, 127.0.0.9") == 401, "which came by two of them"
        agent = {"Authorization": f"Bearer {served.agent_token}"}
        async with connect(served.ws, additional_headers={**agent, **said("192.0.2.3")}, proxy=None):
            pass
        assert await ask("x" * 1000) == 401
        admin = {"Authorization": f"Bearer {served.admin_token}"}
        async with asyncio.timeout(PATIENCE):
            while len(records := (await http.get("/api/v1/audit", headers=admin)).json()["records"]) < 8:
                await asyncio.sleep(0.02)
    assert [each["client"] for each in records[::-1]].count("192.0.2.1") == 5
    assert {each["client"] for each in records} == {"192.0.2.1", "192.0.2.2", "192.0.2.3", "x" * 64}


async def test_behind_a_real_proxy_each_client_has_its_address(tmp_path: Path) -> None:
    """As docs/deploy.md has nginx, which agents' sessions go through as well."""
    work, client = tmp_path / "nginx", "127.0.0.2"
    work.mkdir()
    async with served_control_plane(tmp_path / "state", MemoryOrigin(), trusted_proxies=("127.0.0.1",)) as served:
        said = "proxy_http_version 1.1; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"
        upgraded = "proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;"
        more = f"{said} location / {{ proxy_pass {served.url}; }}"
        more += f"location = {PATH} {{ {said} {upgraded} proxy_pass {served.url}; }}"
        with Nginx(tmp_path, work, more=more) as nginx:
            from_there = httpx2.AsyncHTTPTransport(local_address=client)
            async with httpx2.AsyncClient(base_url=nginx.url, transport=from_there) as http:
                forged = {**WRONG, "X-Forwarded-For": "192.0.2.9"}
                assert (await http.get("/api/v1/status", headers=forged)).status_code == 401
            headers = {"Authorization": f"Bearer {served.agent_token}", "X-Forwarded-For": "192.0.2.9"}
            ws = served.ws.replace(served.url.removeprefix("http"), nginx.url.removeprefix("http"))
            async with connect(ws, additional_headers=headers, local_addr=(client, 0), proxy=None) as agent:
                await agent.send(encode(hello("a")))
                assert await agent.recv()
                async with served.client() as asks:
                    records = [record async for record in asks.audit()]
    assert [(record.action, record.object, record.client) for record in records] == [
        ("session", "a a", client),
        ("", "", client),
    ]


def test_failures_of_one_address_are_its_own_and_forgotten_in_time() -> None:
    failed = FailedLogins(burst=3.0)
    assert [failed.note("a", 0.0) for _ in range(4)] == [None, None, None, 2.0]
    assert failed.note("b", 0.0) is None
    assert failed.note("a", 1.0) == 1.0
    assert failed.note("a", 2.0) is None
    assert failed.note("a", 2.0) == 2.0


def test_of_addresses_without_end_the_oldest_are_forgotten() -> None:
    failed = FailedLogins(burst=1.0)
    assert [failed.note("a", 0.0) for _ in range(2)] == [None, 2.0]
    for number in range(20_000):
        failed.note(str(number), 0.0)
    assert failed.note("a", 0.0) is None
