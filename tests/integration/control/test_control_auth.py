"""Each token opens only what its scope is for. That nothing answers without one: `tests/security`."""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Any, get_args

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.routing import WebSocketRoute
from websockets.exceptions import InvalidStatus

from modeldist.control.api.authentication import OPEN_PATHS
from modeldist.control.app import app_of
from modeldist.control.store.tokens import Scope
from modeldist.errors import ControlPlaneRefused
from modeldist.transfer.tls.requests import new_request
from tests.security.house import all_routes
from tests.servers.control_plane import ServedControlPlane
from tests.servers.scripted_agent import open_socket


def prefixed(app: FastAPI) -> list[tuple[str, str]]:
    """The same as the OpenAPI document and the hidden routes name them."""
    documented = [
        (method.upper(), re.sub(r"\{[^}]+\}", "x", path))
        for path, operations in app.openapi()["paths"].items()
        for method in operations
    ]
    return [
        *documented,
        ("GET", "/metrics"),
        ("GET", "/api/v1/openapi.json"),
        ("GET", "/api/v1/debug/profile"),
        ("GET", "/docs"),
        ("GET", "/openapi.json"),
    ]


async def test_the_session_refuses_before_the_handshake(sqlite_control: ServedControlPlane) -> None:
    for token in ("nonsense", "md_0123456789abcdef_" + "0" * 64):
        with pytest.raises(InvalidStatus) as refused:
            async with open_socket(sqlite_control.ws, token):
                pass
        assert refused.value.response.status_code == 401


async def test_a_reader_opens_no_session(sqlite_control: ServedControlPlane) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with open_socket(sqlite_control.ws, await sqlite_control.read_token()):
            pass
    assert refused.value.response.status_code == 403
    assert b"needs admin or agent" in (refused.value.response.body or b"")


PREHEAT: dict[str, Any] = {
    "type": "preheat",
    "args": {"type": "image", "url": "https://r.example/v2/m/manifests/v1", "scope": "all_peers"},
}
A_MODEL = {"reference": "memory://org/model:v1", "nodes": "all"}
BODIES = {
    "/api/v1/enrol": {"node": "a-machine", "csr": new_request()[1].decode()},
    "/api/v1/certificate": {"csr": new_request()[1].decode()},
    "/api/v1/resolve": {"reference": "memory://org/model:v1"},
    "/api/v1/rollouts": {"release": "memory://org/model:v1", "nodes": "all"},
    "/oapi/v1/jobs": PREHEAT,
    "/preheats": PREHEAT["args"],
}
QUERIES = {"/api/v1/debug/profile": "?seconds=0.05"}
SECURITY = Path(__file__).parents[3] / "SECURITY.md"


def roles_and_routes() -> dict[tuple[str, str], set[str]]:
    """(method, path) -> the scopes that open it, as SECURITY.md says."""
    table = SECURITY.read_text().partition("### Roles and routes")[2].partition("\n## ")[0]
    rows = re.findall(r"(?m)^\| `(\w+) (\S+)` \|(.*)\|$", table)
    scopes = get_args(Scope)
    assert f"| route | {' | '.join(scopes)} |" in table
    found = {}
    for method, path, cells in rows:
        opened = [cell.strip() for cell in cells.split("|")]
        assert len(opened) == len(scopes) and set(opened) <= {"yes", ""}, (method, path, cells)
        found[method, path] = {scope for scope, cell in zip(scopes, opened, strict=True) if cell}
    return found


async def test_scopes(sqlite_control: ServedControlPlane) -> None:
    app = app_of(sqlite_control.plane)
    matrix = roles_and_routes()
    documented = set(prefixed(app)) - {("GET", "/docs"), ("GET", "/openapi.json")}
    sessions = {("WEBSOCKET", route.path) for route in all_routes(app.routes) if isinstance(route, WebSocketRoute)}
    assert {(method, path.replace("{}", "x")) for method, path in matrix} == documented | sessions
    of_the_plane = sqlite_control.plane.tokens
    joined = await of_the_plane.verify(await of_the_plane.create("join", "join", 600.0))
    assert joined is not None
    tokens = {
        "admin": sqlite_control.admin_token,
        "agent": sqlite_control.agent_token,
        "join": "",
        "node": await of_the_plane.enrol(joined, "raw") or "",
        "read": await sqlite_control.read_token(),
    }
    async with httpx2.AsyncClient(base_url=sqlite_control.url, trust_env=False) as http:
        for (method, path), allowed in matrix.items():
            for scope, token in tokens.items():
                if scope == "join":  # good for one thing
                    token = await of_the_plane.create("join", "join", 600.0)
                if method == "WEBSOCKET":
                    status = await knocked(sqlite_control, token)
                else:
                    body = BODIES.get(path, A_MODEL) if method == "POST" else None
                    place = path.replace("{}", "9" if "jobs" in path else "x") + QUERIES.get(path, "")
                    answer = await http.request(method, place, json=body, headers={"Authorization": f"Bearer {token}"})
                    status = answer.status_code
                assert (status == 403) == (scope not in allowed), (method, path, scope, status)
                assert status in (101, 200, 202, 403, 404)


async def test_a_join_token_opens_nothing_beside_one_enrolment(sqlite_control: ServedControlPlane) -> None:
    """Also not the session, nor what every other token may look at."""
    join = await sqlite_control.plane.tokens.create("join", "join", 600.0)
    assert await knocked(sqlite_control, join) == 403
    async with sqlite_control.client(join) as client:
        with pytest.raises(ControlPlaneRefused, match="has the scope join"):
            await client.status()


async def knocked(control: ServedControlPlane, token: str) -> int:
    """The status that a session's handshake gets."""
    try:
        async with open_socket(control.ws, token):
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code


async def test_first_tokens_are_for_their_owner_alone(sqlite_control: ServedControlPlane) -> None:
    for name in ("admin.token", "agent.token", "control.sqlite"):
        mode = stat.S_IMODE((sqlite_control.state_dir / name).stat().st_mode)
        assert mode == 0o600, name
    assert stat.S_IMODE(sqlite_control.state_dir.stat().st_mode) == 0o700


async def test_secrets_are_not_in_the_database(sqlite_control: ServedControlPlane) -> None:
    secret = sqlite_control.admin_token.rpartition("_")[2].encode()
    for file in sqlite_control.state_dir.glob("control.sqlite*"):
        assert secret not in file.read_bytes()


async def test_a_token_is_bound_to_its_id(control: ServedControlPlane) -> None:
    _, admin, _ = control.admin_token.split("_")
    _, _, secret = control.agent_token.split("_")
    assert await control.plane.tokens.verify(f"md_{admin}_{secret}") is None
    verified = await control.plane.tokens.verify(control.agent_token)
    assert verified is not None
    assert (verified.scope, verified.name) == ("agent", "first agent")
    async with control.client("md_" + "0" * 16 + "_" + "0" * 64) as client:
        with pytest.raises(ControlPlaneRefused, match="bearer token"):
            await client.status()


def test_routes_are_fastapi_routes_with_a_declared_scope(sqlite_control: ServedControlPlane) -> None:
    undeclared = []
    for route in all_routes(app_of(sqlite_control.plane).routes):
        if isinstance(route, APIRoute) and route.path not in OPEN_PATHS:
            calls = [dependency.call for dependency in route.dependant.dependencies]
            if not any(hasattr(call, "scopes") for call in calls):
                undeclared.append(route.path)
    assert undeclared == []
