"""The API is what its OpenAPI document says: schemathesis asks everything of it, and its examples are true to it."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import jsonschema_rs
import pytest

from modeldist import errors
from modeldist.control.api.problems import status_of
from modeldist.control.server import listen
from modeldist.control.settings import ServerSettings
from tests.openapi.inhabited import inhabited_control_plane
from tests.openapi.schemathesis_run import schemathesis
from tests.servers.control_plane import ServedControlPlane

ANSWERS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_schemathesis_finds_nothing(tmp_path: Path) -> None:
    async with inhabited_control_plane(tmp_path / "state") as control:
        status, printed = await schemathesis(
            control, tmp_path, "run", "--max-examples", "5", "--generation-deterministic"
        )
    assert status == 0, printed
    assert "Selected: 38/38" in printed, printed  # and knows of every operation
    assert "Tested: 38" in printed, printed


async def test_schemathesis_finds_nothing_without_a_token(tmp_path: Path) -> None:
    async with inhabited_control_plane(tmp_path / "state") as control:
        status, printed = await schemathesis(
            control,
            tmp_path,
            *("run", "--phases", "examples", "--checks", ANSWERS, "--generation-deterministic", "--warnings", "off"),
            token="",
        )
    assert status == 0, printed


@pytest.fixture
async def document(sqlite_control: ServedControlPlane) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {sqlite_control.admin_token}"}
    async with httpx2.AsyncClient(base_url=sqlite_control.url, headers=headers, trust_env=False) as http:
        found: dict[str, Any] = (await http.get("/api/v1/openapi.json")).json()
        return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def contents(operation: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What is sent and answered, each with where it is."""
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"its body, {media_type}", content
    for status, response in operation["responses"].items():
        assert response["content"], f"{status} answers nothing"
        for media_type, content in response["content"].items():
            yield f"{status}, {media_type}", content


def resolved(document: dict[str, Any], content: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = content["schema"]
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


async def test_everything_has_an_example_that_is_true(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    for name, operation in operations(document):
        for parameter in operation.get("parameters", ()):
            assert parameter["schema"].get("examples") or "example" in parameter, (name, parameter["name"])
        for where, content in contents(operation):
            if where == "200, text/plain":
                assert content["example"], name
                continue
            schema = resolved(document, content)
            found = [content["example"]] if "example" in content else schema.get("examples", [])
            assert found, (name, where)
            validator = jsonschema_rs.Draft202012Validator(schema | {"components": document["components"]})
            for example in found:
                validator.validate(example)


async def test_every_operation_says_what_it_may_answer(document: dict[str, Any]) -> None:
    identifiers = [operation["operationId"] for _, operation in operations(document)]
    assert len(set(identifiers)) == len(identifiers) == 38
    assert "create_pull" in identifiers
    for name, operation in operations(document):
        assert operation["summary"], name
        assert {"401", "403", "5XX"} <= set(operation["responses"]), name
        assert "default" not in operation["responses"], name
        if "{" in name:
            assert {"404", "422"} <= set(operation["responses"]), name
        if "requestBody" in operation:
            assert {"400", "413", "415", "422"} <= set(operation["responses"]), name
    links = document["paths"]["/api/v1/pulls"]["post"]["responses"]["202"]["links"]
    assert {link["operationId"] for link in links.values()} <= set(identifiers)


LONG = "9" * 5000
PLACES = (
    "/api/v1/pulls/{}",
    "/api/v1/pulls/{}/events",
    "/api/v1/pulls/{}/webhook",
    "/api/v1/pulls/{}/why",
    "/api/v1/pulls/{}/shards",
    "/api/v1/models/{}",
    "/api/v1/models/{}/nodes",
    "/api/v1/nodes/{}",
    "/api/v1/nodes/{}/tasks",
    "/api/v1/tasks/{}",
    "/api/v1/tasks/{}/swarm",
    "/api/v1/tasks/{}/pieces",
    "/oapi/v1/jobs/{}",
    "/{}",
    "/api/v1/pulls?cursor={}",
    "/api/v1/models?cursor={}",
    "/api/v1/nodes?cursor={}",
    "/api/v1/tasks?cursor={}",
    "/api/v1/racks?cursor={}",
    "/api/v1/audit?cursor={}",
    "/api/v1/pulls?limit={}",
    "/api/v1/pulls?state={}",
)
ODD = ("%00", "a%00", "%ff", "%ed%a0%80", "a%2Fb", "%0a", LONG, "9" * 30, "-1", "1.5", "%F0%9F%98%80", "sha256:%00")


async def test_odd_addresses_are_answered_with_problems(control: ServedControlPlane) -> None:
    async with asking(control) as http:
        for place in PLACES:
            for odd in ODD:
                answer = await http.get(place.format(odd))
                kind = answer.headers["content-type"]
                assert answer.status_code < 500, (place, odd, answer.text)
                assert kind == ("application/json" if answer.is_success else "application/problem+json"), (place, odd)


def wanting(**fields: object) -> bytes:
    return json.dumps({"reference": "memory://org/model:v1", "nodes": "all"} | fields).encode()


def hooked(url: str, secret: str = "whsec_" + "A" * 44) -> bytes:
    return wanting(webhook={"url": url, "secret": secret})


BODIES = [
    (b"", 422),
    (b"null", 422),
    (b"{", 422),
    (b"[" * 100_000, 400),
    (b"\xff{}", 400),
    (b'{"\\ud800": 1}', 422),
    (wanting(reference="\ud800"), 422),
    (wanting(reference="a\0b"), 400),
    (wanting(nodes=["\0"]), 422),
    (wanting(nodes={"labels": {"\ud800": "x"}}), 422),
    (wanting(nodes={"count": True}), 422),
    (wanting(nodes={"count": "4"}), 422),
    (wanting(nodes={"count": 1.5}), 422),
    (b'{"reference": "memory://org/model:v1", "nodes": {"count": 1e400}}', 422),
    (b'{"reference": "memory://org/model:v1", "nodes": {"count": NaN}}', 422),
    (b'{"reference": "memory://org/model:v1", "nodes": {"count": ' + LONG.encode() + b"}}", 400),
    (wanting(nodes={"count": 10**30}), 422),
    (wanting(deadline="0001-01-01T00:00:00+14:00"), 400),
    (wanting(selection={"only": ["\ud800"]}), 422),
    (hooked("http://[::1"), 422),
    (hooked("http://platform.example:99999/"), 422),
    (hooked("http://platform.example\0/"), 422),
    (hooked("https://user:secret@platform.example/"), 422),
    (wanting(reference="https://user:secret@platform.example/m"), 400),
    (hooked("https://platform.example/", "whsec_\xe9"), 400),
]


async def test_odd_bodies_are_answered_with_problems(sqlite_control: ServedControlPlane) -> None:
    async with asking(sqlite_control) as http:
        for body, status in BODIES:
            answer = await http.post("/api/v1/pulls", content=body)
            got = (answer.status_code, answer.headers["content-type"])
            assert got == (status, "application/problem+json"), (body[:200], answer.text)
            assert answer.json()["status"] == status
            for path in ("/api/v1/resolve", "/api/v1/evict", "/api/v1/enrol", "/oapi/v1/jobs", "/preheats"):
                answer = await http.post(path, content=body)
                assert 400 <= answer.status_code < 500, (path, body[:200], answer.text)
        assert (await http.get("/api/v1/pulls")).json()["pulls"] == []


async def test_what_is_not_sent_as_json(sqlite_control: ServedControlPlane) -> None:
    async with asking(sqlite_control) as http:
        for media_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
            for path in ("/api/v1/pulls", "/api/v1/resolve", "/api/v1/pin", "/oapi/v1/jobs", "/preheats"):
                answer = await http.post(path, content=wanting(), headers={"Content-Type": media_type})
                assert (answer.status_code, answer.json()["title"]) == (415, "Unsupported Media Type"), media_type


async def test_a_wrong_method_is_told_all_right_ones(sqlite_control: ServedControlPlane) -> None:
    async with asking(sqlite_control) as http:
        for path, allowed in (("/pulls", "GET, POST"), ("/pulls/x", "DELETE, GET"), ("/openapi.json", "GET")):
            answer = await http.put(f"/api/v1{path}")
            assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


def asking(control: ServedControlPlane) -> httpx2.AsyncClient:
    headers = {"Authorization": f"Bearer {control.admin_token}", "Content-Type": "application/json"}
    return httpx2.AsyncClient(base_url=control.url, headers=headers, trust_env=False)


async def test_small_writes_are_sent_at_once(tmp_path: Path) -> None:
    # asyncio sets TCP_NODELAY on what is named TCP; without it each answer on a kept connection took 40 ms.
    listening = listen(ServerSettings.load(state_dir=tmp_path, port=0))
    with listening, socket.create_connection(listening.getsockname()):
        listening.setblocking(True)
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.proto == socket.IPPROTO_TCP


LOCAL = {
    errors.InvalidPolicy,
    errors.InvalidWebhook,
    errors.MountFailed,
    errors.NotReady,
    errors.ProgramNotRunnable,
    errors.ProgramNotFound,
}  # never answered


def causes() -> Iterator[type[errors.ModeldistError]]:
    for found in vars(errors).values():
        if isinstance(found, type) and issubclass(found, errors.ModeldistError):
            yield found


def test_every_code_is_in_the_documentation_with_its_status() -> None:
    page = (Path(__file__).parents[3] / "docs" / "rest.md").read_text()
    section = page.partition("## Errors\n")[2].partition("\n## ")[0]
    documented = {code: int(status) for code, status in re.findall(r"(?m)^\| `(\w+)` \| (\d{3}) \|", section)}
    known = {cls.code: status_of(cls("")) for cls in causes() if cls not in LOCAL}
    assert documented == known
