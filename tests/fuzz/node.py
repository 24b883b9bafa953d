"""A node in this process: its gateway on a loopback port and its API on a unix socket, before a hub and a registry that
are in this process too. Nothing leads out of this machine.
"""

from __future__ import annotations

import asyncio
import atexit
import errno
import random
import shutil
import socket
import tempfile
import threading
import time
from contextlib import AsyncExitStack
from functools import cache
from pathlib import Path
from typing import Any

from modeldist.agent.config import EngineConfig
from modeldist.agent.engine import Engine
from modeldist.agent.file_connection import FileConnection
from modeldist.agent.local_api import create_local_app
from modeldist.agent.pulls import Pulls
from modeldist.agent.serving import _server, listen_local
from modeldist.agent.store import Store
from modeldist.control.inprocess import InProcessControl
from modeldist.gateway.app import Gateway
from modeldist.logger import in_silence
from modeldist.origins.router import Origins
from modeldist.origins.settings import HttpSettings, OriginSettings
from modeldist.scheduler.alone import Alone
from modeldist.transfer.tcp import TcpTransport
from tests.servers.hub import Hub
from tests.servers.oci_faults import FaultyRegistry

MODEL = "org/model"
FILES = {"config.json": b"{}", "model.safetensors": bytes(range(256)) * 64}
QUICK = HttpSettings(connect_timeout=2.0, stall_timeout=2.0, answer_timeout=2.0, answer_patience=2.0, retries=0)


class Node:
    """`broken` are exceptions that reached the event loop or ended a request."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="fuzz-node-"))
        self.socket = self.home / "agent.sock"
        self.hub = Hub()
        self.commit = self.hub.commit(MODEL, FILES)
        self.registry = FaultyRegistry(referrers=True).__enter__()
        self.digest = self.registry.add_model(MODEL, "v1", FILES)
        self.blob = next(iter(self.registry.blobs))
        self.broken: list[str] = []
        self.gateway = ("127.0.0.1", 0)
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="node", daemon=True)
        self._thread.start()
        assert self._ready.wait(20)
        atexit.register(self.close)

    def _run(self) -> None:
        with in_silence():
            self._loop.set_exception_handler(self._broke)
            self._main = self._loop.create_task(self._serve())
            try:
                self._loop.run_until_complete(self._main)
            except asyncio.CancelledError:
                pass
            finally:
                self._loop.run_until_complete(self._loop.shutdown_default_executor())
                self._loop.close()

    def _broke(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.broken.append(f"{context.get('message')}: {context.get('exception')!r}")

    async def _serve(self) -> None:
        settings = OriginSettings(
            default_registry=self.registry.host,
            plain_http=frozenset({self.registry.host}),
            hf_endpoint=self.hub.url,
            hf_token=lambda: None,
            http=QUICK,
        )
        async with AsyncExitStack() as stack:
            store = Store.open(self.home / "store", hub=self.home / "hub")
            stack.callback(store.close)
            origins = Origins(settings)
            stack.push_async_callback(origins.close)
            control = InProcessControl(origins, time.monotonic, held=store.artifact, scheduler=Alone())
            config = EngineConfig(origin_failures=1, measure_load=False, alone=True)
            engine = Engine(store, control, origins, TcpTransport(), config=config, rng=random.Random(1))
            stack.push_async_callback(engine.close)
            pulls = Pulls(engine, origins.canonical)
            stack.push_async_callback(pulls.close)
            await engine.start()
            listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
            listener.bind(self.gateway)
            listener.listen(128)
            self.gateway = listener.getsockname()
            gateway = Gateway(engine, pulls, origins, f"127.0.0.1:{self.gateway[1]}", [self.registry.host])
            stack.push_async_callback(gateway.close)
            local = listen_local(self.socket)
            apps = (gateway, create_local_app(engine, pulls))
            servers = [_server(self._watched(app), FileConnection) for app in apps]
            serving = asyncio.gather(servers[0].serve(sockets=[listener]), servers[1].serve(sockets=[local]))
            try:
                await asyncio.sleep(0)
                self._ready.set()
                await serving
            finally:
                serving.cancel()
                await asyncio.gather(serving, return_exceptions=True)

    def _watched(self, app: Any) -> Any:
        async def asked(scope: Any, receive: Any, send: Any) -> None:
            try:
                await app(scope, receive, send)
            except Exception as error:
                self.broken.append(f"{scope['method']} {scope['raw_path'][:300]!r}: {error!r}")
                raise

        return asked

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._main.cancel)
        self._thread.join(20)
        self.registry.__exit__(None, None, None)
        self.hub.close()
        shutil.rmtree(self.home, ignore_errors=True)


@cache
def node() -> Node:
    _stay_here()
    return Node()


def _stay_here() -> None:
    """A reference that a change has given another host is not looked for."""
    looked_up = socket.getaddrinfo

    def here(host: Any, *args: Any, **named: Any) -> Any:
        text = host.decode("ascii", "replace") if isinstance(host, bytes) else str(host)
        if text not in ("127.0.0.1", "localhost", "::1"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return looked_up(host, *args, **named)

    connect = socket.socket.connect

    def connect_here(sock: socket.socket, address: Any) -> None:
        if sock.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1"):
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
        connect(sock, address)

    socket.getaddrinfo = here
    socket.socket.connect = connect_here  # type: ignore[method-assign, assignment]
