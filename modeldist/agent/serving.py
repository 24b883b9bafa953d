"""Where the agent's HTTP servers listen, and how they are served until the agent stops."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import uvicorn
from starlette.types import ASGIApp

from modeldist.agent.file_connection import FileConnection
from modeldist.agent.leaving import Leaving
from modeldist.agent.unix_address import unix_address
from modeldist.errors import AgentError, UsageError
from modelpack.oci.addresses import is_loopback

LEAVE_WITHIN = 5  # seconds that open requests get when the agent stops
_BACKLOG = 128  # connections that wait to be accepted
KEEP_ALIVE = 75  # seconds an idle connection stays open


class _Server(uvicorn.Server):
    """uvicorn would re-raise the signal right after its own shutdown, before the agent's is complete; and it would wake
    the node ten times a second to see whether it is to end."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._leaving = asyncio.Event()

    def leave(self) -> None:
        self.should_exit = True
        self._leaving.set()

    async def main_loop(self) -> None:
        await self._leaving.wait()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Served(NamedTuple):
    """An application, and where it listens."""

    app: ASGIApp
    listening: socket.socket
    connection: type[asyncio.Protocol] = FileConnection  # uvicorn's, or such a one


async def serve(served: Sequence[Served], leaving: Leaving) -> None:
    """Serve each application on its listening socket until SIGTERM or SIGINT, of which `leaving` is told first."""
    servers = [(_server(each.app, each.connection), each.listening) for each in served]
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, _all_leave, leaving, [server for server, _ in servers])
    await asyncio.gather(*(server.serve(sockets=[listening]) for server, listening in servers))


def _server(app: ASGIApp, connection: type[asyncio.Protocol]) -> _Server:
    config = uvicorn.Config(
        app,
        http=connection,
        backlog=_BACKLOG,  # as many are accepted in one go, before any of them can be turned away
        ws="none",  # nothing here speaks WebSocket, and an application that does not answer one is taken to be broken
        log_config=None,  # what it says is in the agent's own form, one JSON object a line where that is asked for
        log_level="warning",
        lifespan="off",
        access_log=False,
        date_header=False,  # uvicorn sets it in the loop that is not run
        server_header=False,
        timeout_graceful_shutdown=LEAVE_WITHIN,
        timeout_keep_alive=KEEP_ALIVE,
    )
    return _Server(config)


def _all_leave(leaving: Leaving, servers: Sequence[_Server]) -> None:
    leaving.leave()
    for server in servers:
        server.leave()


def listen_local(path: Path) -> socket.socket:
    """A unix socket that only this user can open. A left-over one is replaced: hold `only_listener`."""
    with suppress(FileNotFoundError):
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        with unix_address(path) as address:
            listener.bind(address)
    except OSError as error:
        listener.close()
        raise AgentError(f"Cannot listen on {path}: {error}.", remedy="Choose another --socket.") from error
    finally:
        os.umask(before)
    listener.listen(_BACKLOG)
    return listener


@contextmanager
def gateway_socket(address: str) -> Iterator[socket.socket | None]:
    """Listens on a loopback `host:port`; None where it is empty. Raises UsageError, AgentError."""
    if address:
        host, _ = split_address(address)
        if not is_loopback(host) or is_any(host):
            raise UsageError(
                f"The gateway is for programs on this machine: {address} is not on loopback.",
                remedy="Give --gateway 127.0.0.1:PORT.",
            )
    with _tcp_socket(address, "the gateway", "--gateway") as listener:
        yield listener


@contextmanager
def metrics_socket(address: str) -> Iterator[socket.socket | None]:
    """Listens on `host:port`; None where it is empty. Raises UsageError, AgentError."""
    with _tcp_socket(address, "metrics", "--metrics") as listener:
        yield listener


@contextmanager
def _tcp_socket(address: str, served: str, option: str) -> Iterator[socket.socket | None]:
    if not address:
        yield None
        return
    host, port = split_address(address)
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        # Named TCP: asyncio turns Nagle's algorithm off for no other, and a short answer then waits for 40 ms.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            listener.listen(_BACKLOG)
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        raise AgentError(
            f"Cannot serve {served} on {address}: {error.strerror or error}.",
            remedy=f"Stop what listens there, or choose another port with {option}.",
        ) from error
    with listener:
        yield listener


def address_of(listener: socket.socket) -> str:
    """host:port, as in a URL."""
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_address(text: str) -> tuple[str, int]:
    """`host:port` (IPv6 hosts in brackets). Raises UsageError."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"{text!r} is not host:port.", remedy="Write it like 127.0.0.1:7430, with a port up to 65535.")
    return host.strip("[]"), int(port)


def is_any(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_unspecified
    return False
