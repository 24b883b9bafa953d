"""Parts of files as bodies of HTTP answers, without a copy in Python; interim answers before them."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random

import httpx2
import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from modeldist.agent.file_connection import FILES, FileConnection
from modeldist.gateway.patience import kept_waiting

SIZE = 24 << 20  # more than the kernel takes for a connection that nobody reads
CONTENT = Random("file").randbytes(SIZE)
GONE = ("ConnectionResetError", "BrokenPipeError")

Body = Callable[[FileConnection, int], Awaitable[None]]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "file"
    path.write_bytes(CONTENT)
    return path


class Served:
    """An application whose answers have SIZE bytes by `body`. `ends`: how each answer ended."""

    def __init__(self, file: Path, body: Body) -> None:
        self._file = file
        self._body = body
        self.url = ""
        self.ends: asyncio.Queue[str] = asyncio.Queue()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-length", str(SIZE).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        fd = os.open(self._file, os.O_RDONLY)
        try:
            await self._body(scope["state"][FILES], fd)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            self.ends.put_nowait("whole")
        except (ConnectionError, EOFError) as error:
            self.ends.put_nowait(type(error).__name__)
        finally:
            os.close(fd)


@asynccontextmanager
async def served(file: Path, body: Body) -> AsyncIterator[Served]:
    app = Served(file, body)
    async with serving(app) as app.url:
        yield app


@asynccontextmanager
async def serving(app: ASGIApp) -> AsyncIterator[str]:
    config = uvicorn.Config(app, http=FileConnection, lifespan="off", log_level="critical")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        finally:
            server.should_exit = True
            await running


async def in_two(files: FileConnection, fd: int) -> None:
    await files.send_file(fd, 0, 1_000_001)
    await files.send_file(fd, 1_000_001, SIZE)


async def too_far(files: FileConnection, fd: int) -> None:
    await files.send_file(fd, 10, SIZE + 10)


async def connected(app: Served) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A client that has asked, and reads when it likes."""
    reader, writer = await asked(app.url)
    await reader.readuntil(b"\r\n\r\n")
    return reader, writer


async def asked(address: str, version: str = "1.1") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    url = httpx2.URL(address)
    reader, writer = await asyncio.open_connection(url.host, url.port, limit=1 << 16)
    writer.write(f"GET / HTTP/{version}\r\nHost: {url.host}\r\n\r\n".encode())
    return reader, writer


async def test_all_bytes_in_order_and_the_connection_goes_on(file: Path) -> None:
    async with served(file, in_two) as app, httpx2.AsyncClient(timeout=60) as client:
        for _ in range(2):
            assert (await client.get(app.url)).content == CONTENT
            assert await app.ends.get() == "whole"


async def test_a_client_that_does_not_read_keeps_nobody_else(file: Path) -> None:
    async with served(file, in_two) as app, httpx2.AsyncClient(timeout=60) as client:
        slow = [await connected(app) for _ in range(40)]  # more than the loop has threads
        assert (await client.get(app.url)).content == CONTENT
        assert await app.ends.get() == "whole"
        reader, patient = slow.pop()
        assert await reader.readexactly(SIZE) == CONTENT
        assert await app.ends.get() == "whole"
        patient.close()
        for _, writer in slow:
            writer.transport.abort()
        for _ in slow:
            assert await app.ends.get() in GONE


async def test_a_client_that_leaves(file: Path) -> None:
    async with served(file, in_two) as app:
        _, writer = await connected(app)
        writer.transport.abort()
        assert await app.ends.get() in GONE


async def test_a_question_that_ends_in_nonsense_breaks_its_answer_off(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(file, in_two) as app:
        url = httpx2.URL(app.url)
        reader, writer = await asyncio.open_connection(url.host, url.port)
        writer.write(f"GET / HTTP/1.1\r\nHost: {url.host}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"ZZZ\r\n\r\n")
        with suppress(ConnectionResetError):
            assert CONTENT.startswith(await reader.read(SIZE))
        assert await app.ends.get() in GONE
        writer.close()
    assert not [record for record in caplog.records if record.exc_info]


async def test_a_file_that_is_too_short_breaks_off(file: Path) -> None:
    async with served(file, too_far) as app, httpx2.AsyncClient(timeout=60) as client:
        with pytest.raises(httpx2.RemoteProtocolError):
            await client.get(app.url)
        assert await app.ends.get() == "EOFError"


async def test_who_waits_for_the_beginning_hears_of_it(file: Path) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async with kept_waiting(scope, every=0.01):
            await heard.wait()
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
            await send({"type": "http.response.body", "body": b"ok", "more_body": False})

    heard = asyncio.Event()
    async with serving(app) as url:
        reader, writer = await asked(url)
        for _ in range(3):
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        heard.set()
        rest = await reader.readuntil(b"ok")
        assert b"HTTP/1.1 200 OK\r\n" in rest
        writer.close()
        # Clients pass over it.
        heard.clear()
        async with httpx2.AsyncClient(timeout=60) as client:
            answer = asyncio.create_task(client.get(url))
            asyncio.get_running_loop().call_later(0.1, heard.set)
            assert (await answer).content == b"ok"


async def test_one_that_knows_no_interim_answers_hears_none(file: Path) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async with kept_waiting(scope, every=0.0):
            for _ in range(100):
                await asyncio.sleep(0)
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
            await send({"type": "http.response.body", "body": b"ok", "more_body": False})

    async with serving(app) as url:
        reader, writer = await asked(url, version="1.0")
        assert (await reader.read()).startswith(b"HTTP/1.1 200 OK\r\n")
        writer.close()
