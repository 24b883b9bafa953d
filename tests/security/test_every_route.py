"""Nothing of the control plane answers without a token: every route it has, by every method, however it is written."""

from __future__ import annotations

import asyncio
import base64
import os
import queue
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from starlette.routing import Route, WebSocketRoute

import modeldist.control
from modeldist.control.api.authentication import OPEN_PATHS, PROBES
from modeldist.control.api.console import CONSOLE_PATHS
from modeldist.control.app import create_app
from modeldist.control.settings import ServerSettings
from tests.security.house import all_routes
from tests.servers.control_plane import ServedControlPlane, served_control_plane
from tests.servers.memory_origin import MemoryOrigin

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
UNKNOWN = "md_0123456789abcdef_" + "0" * 64
WRONG = [
    None,
    "Bearer",
    "Bearer ",
    "Bearer nonsense",
    f"Bearer {UNKNOWN}",
    f"bearer {UNKNOWN} {UNKNOWN}",
    f"Token {UNKNOWN}",
    "Basic " + base64.b64encode(b"admin:admin").decode(),
    "Negotiate YII=",
]


def paths() -> list[str]:
    """Of every route, parameters filled in; and of what the framework would serve by itself."""
    found = {*OPEN_PATHS, "/", "/docs", "/redoc", "/openapi.json", "/api/v1", "/metrics", "/nowhere"}
    for route in all_routes(create_app(ServerSettings()).routes):
        assert isinstance(route, Route | WebSocketRoute), f"{route!r}: a mount has routes that this test cannot see"
        found.add(re.sub(r"\{[^}]+\}", "x", route.path))
    assert len(found) > 25
    return sorted(found)


def disguises(path: str) -> Iterator[str]:
    """The same path as a proxy or a router might still take it, and ways past a check of `/healthz`."""
    yield from (f"/{path}", f"{path}/", f"{path}?token={UNKNOWN}", f"{path};/healthz", f"{path}#/healthz")
    yield from (f"/console/..{path}", f"/console/%2e%2e{path}", f"/console/style.css/..{path}")
    yield from (f"/healthz/..{path}", f"/healthz/%2e%2e{path}", f"/%68ealthz/..{path}", f"/healthz%2f..{path}")
    yield from (path.replace("/", "/%2e/"), path.upper(), f"{path}%00", f"{path}%20")


class Wire:
    """One kept connection on which requests are written as they are: a client's library would tidy them up."""

    def __init__(self, url: str) -> None:
        where = urlsplit(url)
        self.host = where.netloc
        self._address = (where.hostname, where.port)
        self._connection: socket.socket | None = None

    def ask(self, method: str, target: str, *headers: str) -> tuple[int, str]:
        """(status, head and body)."""
        if self._connection is None:
            self._connection = socket.create_connection(self._address, timeout=20)
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self.host}", "Content-Length: 0", *headers, "", ""]
        self._connection.sendall("\r\n".join(lines).encode())
        answer = b""
        while (end := answer.find(b"\r\n\r\n")) < 0:
            more = self._connection.recv(65536)
            assert more, (method, target, answer)
            answer += more
        head = answer[:end].decode("latin-1").lower()
        length = re.search(r"\ncontent-length: (\d+)", head)
        size = end + 4 + (int(length[1]) if length and method != "HEAD" else 0)
        while len(answer) < size:
            answer += self._connection.recv(65536)
        if "connection: close" in head:
            self.close()
        return int(head.split()[1]), answer.decode("utf-8", "replace")

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedControlPlane]:
    """Served by a thread, so that tests may write on sockets and wait."""
    running: queue.Queue[ServedControlPlane] = queue.Queue()
    over = threading.Event()

    async def serve() -> None:
        async with served_control_plane(tmp_path_factory.mktemp("control") / "state", MemoryOrigin()) as served:
            running.put(served)
            await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        yield running.get(timeout=60)
    finally:
        over.set()
        thread.join()


@pytest.fixture
def wire(control: ServedControlPlane) -> Iterator[Wire]:
    wire = Wire(control.url)
    yield wire
    wire.close()


def test_every_route_refuses_whoever_has_no_token(wire: Wire) -> None:
    for path in paths():
        for method in METHODS:
            status, said = wire.ask(method, path)
            if path in PROBES:
                assert status in (200, 405), (method, path, said)
                assert method != "GET" or said.endswith("\r\n\r\nok\n"), said
            elif path in CONSOLE_PATHS:  # files of the wheel, which hold no data; see the test of them
                assert status in (200, 308, 405), (method, path, said)
            else:
                assert status == 401, (method, path, said)
                assert "www-authenticate: bearer" in said.lower(), said


def test_what_is_open_is_the_probes_and_the_consoles_files(wire: Wire) -> None:
    """Those are what the wheel brings, byte for byte, whoever asks and whatever is in the control plane."""
    assert {"/healthz", "/readyz"} | CONSOLE_PATHS == OPEN_PATHS
    folder = Path(modeldist.control.__file__).parent / "console"
    shipped = {"/console/" + str(file.relative_to(folder)) for file in folder.rglob("*.*") if file.is_file()}
    assert shipped - {"/console/index.html"} | {"/console", "/console/"} == CONSOLE_PATHS
    for path in CONSOLE_PATHS - {"/console"}:
        file = folder / (path.removeprefix("/console/") or "index.html")
        assert wire.ask("GET", path)[1].partition("\r\n\r\n")[2] == file.read_text(), path


def test_a_browser_that_asks_for_the_root_is_led_to_the_console_and_nobody_else(wire: Wire) -> None:
    """What it is told holds no data, and is of that one path."""
    browser = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    for method in METHODS:
        status, said = wire.ask(method, "/", browser)
        if method in ("GET", "HEAD"):
            head, _, body = said.lower().partition("\r\n\r\n")
            assert (status, body) == (307, "") and "\r\nlocation: console/\r\n" in head + "\r\n", said
        else:
            assert status == 401, (method, said)
    for accept in ("Accept: */*", "Accept: application/json", "Accept:"):
        assert wire.ask("GET", "/", accept)[0] == 401, accept
    for path in set(paths()) - OPEN_PATHS - {"/"}:
        for target in (path, f"/{path}", f"{path}/"):
            assert wire.ask("GET", target, browser)[0] == 401, target


def test_every_route_refuses_whoever_has_a_wrong_one(wire: Wire) -> None:
    for path in set(paths()) - OPEN_PATHS:
        for credentials in WRONG[1:]:
            for method in ("GET", "POST"):
                status, said = wire.ask(method, path, f"Authorization: {credentials}")
                assert status == 401, (method, path, credentials, said)


def test_a_token_elsewhere_than_in_its_header_is_none(control: ServedControlPlane, wire: Wire) -> None:
    """Neither in the query, which logs and histories keep, nor in cookies, which browsers send by themselves."""
    token = control.admin_token
    for target in (f"/api/v1/status?token={token}", f"/api/v1/status?access_token={token}"):
        assert wire.ask("GET", target)[0] == 401
    for header in (f"Cookie: token={token}", f"Cookie: Authorization=Bearer {token}", f"X-Auth-Token: {token}"):
        assert wire.ask("GET", "/api/v1/status", header)[0] == 401
    assert wire.ask("GET", "/api/v1/status", f"Authorization: Bearer {token}")[0] == 200


def test_no_way_of_writing_a_path_leads_past_the_check(wire: Wire) -> None:
    for path in set(paths()) - OPEN_PATHS:
        for target in (*disguises(path), f"http://{wire.host}{path}", f"http://elsewhere.example{path}"):
            status, said = wire.ask("GET", target)
            assert status == 401, (target, said)


def test_headers_of_proxies_open_nothing(wire: Wire) -> None:
    for header in (
        "X-Original-URL: /healthz",
        "X-Original-URL: /console/",
        "X-Rewrite-URL: /healthz",
        "X-Forwarded-For: 127.0.0.1",
        "X-Forwarded-User: admin",
        "X-Remote-User: admin",
        "X-HTTP-Method-Override: GET",
        "Forwarded: for=127.0.0.1",
    ):
        assert wire.ask("GET", "/api/v1/status", header)[0] == 401, header


@pytest.mark.parametrize("credentials", WRONG)
def test_every_path_refuses_a_websocket_before_its_handshake(wire: Wire, credentials: str | None) -> None:
    """Also those that are open over HTTP: what is checked is not the path alone."""
    given = [f"Authorization: {credentials}"] if credentials else []
    for path in paths():
        key = base64.b64encode(os.urandom(16)).decode()
        status, said = wire.ask(
            "GET",
            path,
            *("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}"),
            *given,
        )
        assert status == 401, (path, said)
        wire.close()


def test_a_refusal_says_nothing_of_what_is_there(wire: Wire) -> None:
    """Whoever has no token cannot tell a route from none, nor what is here from what is not."""
    said = {wire.ask("GET", path)[1].partition("\r\n\r\n")[2] for path in set(paths()) - OPEN_PATHS}
    assert len(said) == 1
