"""The server as a process: what it prints and writes, how it stops, what a kill leaves."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvicorn
from websockets.exceptions import InvalidStatus

from modeldist.client import AsyncClient
from modeldist.control.app import create_app
from modeldist.control.server import listen, only_server, serve, stored_tokens
from modeldist.control.settings import ServerSettings
from modeldist.errors import ControlPlaneUnreachable, StorageError, UsageError
from modeldist.session.messages import StartPull
from tests.servers.certificates import issue
from tests.servers.memory_origin import MemoryOrigin
from tests.servers.scripted_agent import PATIENCE, scripted_agent

PROGRAM = """
import json, sys
from modeldist.control.server import serve
from modeldist.control.settings import ServerSettings
serve(ServerSettings.load(**json.loads(sys.argv[1])))
"""


@asynccontextmanager
async def process(
    state_dir: Path, *, environment: Mapping[str, str] | None = None, **settings: object
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """A server process and its URL; killed at the end when it still runs. `environment`: beside what there is."""
    given = {"state_dir": str(state_dir), "port": 0, "log_format": "json"} | settings
    running = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROGRAM,
        json.dumps(given),
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **(environment or {})},
    )
    try:
        yield running, await url_of(running)
    finally:
        if running.returncode is None:
            running.kill()
        await running.communicate()


async def url_of(running: asyncio.subprocess.Process) -> str:
    assert running.stderr is not None
    async with asyncio.timeout(PATIENCE):
        while line := await running.stderr.readline():
            said = json.loads(line)
            if said["event"] == "listening":
                return str(said["url"])
    raise AssertionError("the server ended before it listened")


def token(state_dir: Path, scope: str) -> str:
    return (state_dir / f"{scope}.token").read_text().strip()


async def test_heads_are_short_whatever_else_is_installed(tmp_path: Path) -> None:
    """uvicorn would take httptools where that is there, as beside an engine, and a head then has no end."""
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "httptools.py").write_text("HttpRequestParser = None\n")
    beside = {"PYTHONPATH": os.pathsep.join(filter(None, [str(tmp_path / "beside"), os.environ.get("PYTHONPATH", "")]))}
    async with process(tmp_path / "state", environment=beside) as (_, url):
        host, _, port = url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer " + bytes(1 << 20))
        async with asyncio.timeout(PATIENCE):
            said = await reader.read(100)
        writer.transport.abort()
        assert said.startswith(b"HTTP/1.1 400 ")


async def test_it_stops_when_told(tmp_path: Path, database_url: str) -> None:
    for told in (signal.SIGTERM, signal.SIGINT):
        async with process(tmp_path, database_url=database_url) as (running, url):
            admin, agent = token(tmp_path, "admin"), token(tmp_path, "agent")
            async with AsyncClient(url, admin) as client:
                assert (await client.status()).agents == 0
            async with scripted_agent(url.replace("http", "ws") + "/session", agent, "a") as connected:
                running.send_signal(told)
                assert (await connected.closed())[0] in (1001, 1012)
            _, said = await asyncio.wait_for(running.communicate(), PATIENCE)
            assert running.returncode == 0
            assert json.loads(said.splitlines()[-1])["event"] == "stopped"
            for secret in (admin, agent):
                assert secret.encode() not in said


async def test_a_kill_loses_no_pull(tmp_path: Path, database_url: str) -> None:
    async with process(tmp_path, database_url=database_url) as (running, url):
        async with AsyncClient(url, token(tmp_path, "admin")) as client:
            made = await client.create_pull("org/model:v1", "all")
        running.kill()
        await running.wait()
    async with process(tmp_path, database_url=database_url) as (running, url):
        ws = url.replace("http", "ws") + "/session"
        async with (
            AsyncClient(url, token(tmp_path, "admin")) as client,
            scripted_agent(ws, token(tmp_path, "agent"), "a") as agent,
        ):
            assert (await agent.expect(StartPull)).pull == made.id
            assert (await client.get_pull(made.id)).states == {"waiting": 1}


async def test_more_tokens(tmp_path: Path, database_url: str) -> None:
    settings = ServerSettings.load(state_dir=tmp_path, database_url=database_url)
    async with process(tmp_path, database_url=database_url) as (_, url):
        async with stored_tokens(settings) as tokens:
            reader = await tokens.create("dashboard", "read")
        async with AsyncClient(url, reader) as client:
            assert (await client.list_pulls()).pulls == []


async def test_a_second_one_on_the_same_state_is_refused(tmp_path: Path) -> None:
    async with process(tmp_path) as (running, _):
        second = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "modeldist", "server", "--port", "0", "--state-dir", str(tmp_path)),
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(PATIENCE):
            _, said = await second.communicate()
        assert second.returncode == UsageError.exit_code
        assert f"Another control plane works with {tmp_path}." in said.decode()
        assert "several replicas need PostgreSQL (--database-url)" in said.decode()
        running.kill()
        await running.wait()
    async with process(tmp_path) as (_, url):
        assert url


def test_a_second_one_on_the_same_sqlite_file_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/shared.sqlite"
    first, second = (ServerSettings.load(state_dir=tmp_path / name, database_url=url) for name in "ab")
    with only_server(first), pytest.raises(UsageError, match=r"works with .*/shared\.sqlite"), only_server(second):
        pass
    with only_server(second):
        pass


async def test_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority, cert, key = issue(tmp_path)
    async with process(tmp_path / "state", tls_cert=str(cert), tls_key=str(key)) as (_, url):
        assert url.startswith("https://")
        admin = token(tmp_path / "state", "admin")
        async with AsyncClient(url, admin, verify=ssl.create_default_context(cafile=str(authority))) as client:
            assert (await client.status()).agents == 0
        async with AsyncClient(url, admin) as stranger:
            with pytest.raises(ControlPlaneUnreachable, match=r"certificate that is not trusted.*SSL_CERT_FILE"):
                await stranger.status()
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        async with AsyncClient(url, admin) as trusting:
            assert (await trusting.status()).agents == 0
        async with AsyncClient(url.replace("https", "http"), admin) as plain:
            with pytest.raises(ControlPlaneUnreachable, match="https://"):
                await plain.status()


async def test_as_an_application_of_another_server(tmp_path: Path) -> None:
    app = create_app(ServerSettings.load(state_dir=tmp_path), origins=MemoryOrigin())
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, ws="websockets-sansio", log_config=None))
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        async with asyncio.timeout(PATIENCE):
            while not server.started:
                await asyncio.sleep(0.01)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        async with AsyncClient(url, token(tmp_path, "admin")) as client:
            assert (await client.status()).models == 0
            await _sessions_of_another_server(client, url.replace("http", "ws") + "/session", token(tmp_path, "agent"))
        server.should_exit = True
        await serving


async def _sessions_of_another_server(client: AsyncClient, ws: str, agent_token: str) -> None:
    """They cost more there, and mean the same."""
    async with scripted_agent(ws, agent_token, "a") as agent:
        made = await client.create_pull("memory://org/model:v1", "all")
        assert (await agent.expect(StartPull)).pull == made.id
        async with scripted_agent(ws, agent_token, "a"):
            assert await agent.closed() == (1001, "replaced by a newer session of the same node")
        async with scripted_agent(ws, agent_token, "b") as broken:
            await broken.connection.send("text")
            assert (await broken.closed())[0] == 1003
    async with asyncio.timeout(PATIENCE):
        while (await client.status()).agents:
            await asyncio.sleep(0.01)


async def test_a_server_without_free_descriptors_says_so_and_goes_on(tmp_path: Path) -> None:
    async with process(tmp_path) as (running, url):
        host, port = url.removeprefix("http://").split(":")
        open_files = len(list(Path(f"/proc/{running.pid}/fd").iterdir()))
        limits = resource.prlimit(running.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(running.pid, resource.RLIMIT_NOFILE, (open_files + 4, limits[1]))
        crowd = [await asyncio.open_connection(host, int(port)) for _ in range(20)]
        assert running.stderr is not None
        async with asyncio.timeout(PATIENCE):
            while b"No more agents can connect" not in (line := await running.stderr.readline()):
                assert line
        assert f"may open {open_files + 4} files".encode() in line
        for _, writer in crowd:
            writer.close()
            await writer.wait_closed()
        ws = url.replace("http", "ws") + "/session"
        async with asyncio.timeout(PATIENCE):
            while not await _joins(ws, token(tmp_path, "agent")):
                await asyncio.sleep(0.1)


async def _joins(ws: str, token: str) -> bool:
    """An agent asks again, too, while the database has no descriptors left beside the last of the crowd."""
    try:
        async with scripted_agent(ws, token, "a"):
            return True
    except InvalidStatus as answer:
        assert answer.response.status_code == 503
        return False


def test_an_occupied_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as occupied:
        port = occupied.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port}: Address already in use"):
            listen(ServerSettings.load(state_dir=tmp_path, port=port))
    with pytest.raises(UsageError, match=r"Cannot listen on 192\.0\.2\.1"):
        listen(ServerSettings.load(state_dir=tmp_path, host="192.0.2.1", port=0))


def test_what_is_wrong_is_said_before_it_listens(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="in the clear"):
        serve(ServerSettings.load(state_dir=tmp_path, host="0.0.0.0"))
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="state directory"):
        asyncio.run(_open(ServerSettings.load(state_dir=tmp_path / "file" / "x")))


async def _open(settings: ServerSettings) -> None:
    from modeldist.control.plane import running

    async with running(settings, origins=MemoryOrigin()):
        pass
