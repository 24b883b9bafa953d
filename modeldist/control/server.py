"""Running the control plane as a process."""

from __future__ import annotations

import asyncio
import fcntl
import resource
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from types import FrameType
from typing import Any, cast

import structlog
import uvicorn
from fastapi import FastAPI

from modeldist.control.app import app_for
from modeldist.control.bootstrap import prepare_state_dir
from modeldist.control.door import Door
from modeldist.control.full import Full
from modeldist.control.logs import configure_logging
from modeldist.control.migrating import migrate_to
from modeldist.control.plane import DATABASE
from modeldist.control.replicas.replica import standing
from modeldist.control.session_socket import SessionSocket
from modeldist.control.settings import ServerSettings
from modeldist.control.standing import Standing
from modeldist.control.store.database import Database, sqlite_file, sqlite_url
from modeldist.control.store.tokens import Tokens
from modeldist.control.trusted_proxies import trusted
from modeldist.control.unheard import HttpConnection, Unheard
from modeldist.errors import UsageError
from modeldist.file_failures import of_a_file
from modeldist.session.messages import MAX_MESSAGE
from modeldist.tracing.exporting import exporting

log = structlog.get_logger(__name__)

GRACE = 10  # seconds for open requests to end when stopping
BACKLOG = 4096  # connections that wait in the kernel
CHECKED_IN = 2  # tenths of a second between two looks at sessions that are silent
UNREAD_LIMIT_MS = 60_000


def serve(settings: ServerSettings) -> bool:
    """Run until SIGINT or SIGTERM, or until another version is to run in this one's place (True). Raises UsageError,
    StorageError before it listens."""
    settings.check_exposure()
    configure_logging(settings.log_format, settings.log_level)
    _allow_descriptors()
    with exporting("modeldist-server", log.warning, instance=settings.address):
        return asyncio.run(_serve(settings))


def _allow_descriptors() -> None:
    """As many as the hard limit allows: each agent needs one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def migrate_database(settings: ServerSettings, revision: str) -> tuple[str | None, str]:
    """See `migrating.migrate_to`. Raises UsageError, also where a control plane runs, and StorageError."""
    prepare_state_dir(settings.state_dir)
    with only_server(settings):
        return asyncio.run(migrate_to(settings, revision))


@asynccontextmanager
async def stored_tokens(settings: ServerSettings) -> AsyncIterator[Tokens]:
    """As `stored_database`."""
    async with stored_database(settings) as database:
        yield Tokens(database)


@asynccontextmanager
async def stored_database(settings: ServerSettings) -> AsyncIterator[Database]:
    """The store itself, for whoever may read the state directory. A control plane that runs on it goes on. Raises
    UsageError, StorageError."""
    if not settings.database_url and not (settings.state_dir / DATABASE).exists():
        raise UsageError(
            f"There is no control plane's database in {settings.state_dir}.",
            remedy="`modeldist server` makes it; give its --state-dir or --database-url.",
        )
    database = await Database.open(settings.database_url or sqlite_url(settings.state_dir / DATABASE))
    try:
        yield database
    finally:
        await database.close()


async def _serve(settings: ServerSettings) -> bool:
    prepare_state_dir(settings.state_dir)
    with ExitStack() as stack:
        listening = stack.enter_context(listen(settings))
        stack.enter_context(only_server(settings))
        host, port = listening.getsockname()[:2]
        bound = settings.model_copy(update={"host": host, "port": port})
        async with standing(settings, bound.address) as stands:
            plane = stands.plane

            def listens() -> None:
                log.info(
                    "listening",
                    url=bound.url,
                    leads=plane is not None,
                    cluster=plane.cluster if plane is not None else "",
                    tokens=str(settings.state_dir),
                )

            await ControlServer(app_for(settings, stands), settings, stands, listens).serve(sockets=[listening])
            log.info("stopped")
            return plane is not None and plane.own.restarting


@contextmanager
def only_server(settings: ServerSettings) -> Iterator[None]:
    """Two control planes on one SQLite file would grant the same leases twice. Raises UsageError when another one is
    there; a killed one holds nothing. Replicas on PostgreSQL have a lock there."""
    file = sqlite_file(settings.database_url) if settings.database_url else settings.state_dir / DATABASE
    if file is None:
        yield
        return
    path = file.with_name(f"{file.name}.lock") if settings.database_url else settings.state_dir / "server.lock"
    try:
        held = path.open("w")
    except OSError as error:
        which = "the database's URL" if settings.database_url else "--state-dir"
        raise of_a_file(
            error,
            f"Cannot write {path}: {error.strerror}.",
            forbidden=f"Let this user write there, or correct {which}.",
            otherwise=f"Check the disk under it, or correct {which}.",
        ) from error
    with held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"Another control plane works with {file if settings.database_url else settings.state_dir}.",
                remedy="Stop it, or give this one another --state-dir; "
                "several replicas need PostgreSQL (--database-url).",
            ) from error
        yield


def listen(settings: ServerSettings) -> socket.socket:
    """The bound socket. Raises UsageError when the address cannot be bound."""
    try:
        family, *_, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        # Named TCP, and with it what it accepts: asyncio then sends small writes at once (TCP_NODELAY). An answer is
        # two, its head and its body, and the second one would wait for 40 ms.
        listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except OSError as error:
        raise _cannot_listen(settings, error) from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Inherited by connections: an agent that stopped reading is cut off by the kernel, whatever waits in our
        # buffers for it.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_LIMIT_MS)
        listening.bind(address)
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        raise _cannot_listen(settings, error) from error
    return listening


def _cannot_listen(settings: ServerSettings, error: OSError) -> UsageError:
    return UsageError(
        f"Cannot listen on {settings.host} port {settings.port}: {error.strerror}.",
        remedy="Stop what listens there, or choose another with --port or MODELDIST_SERVER_PORT.",
    )


class ControlServer(uvicorn.Server):
    """uvicorn that lets others lead and ends event streams before it waits for their connections, and returns after a
    signal. `listens` is called once it takes connections, and a signal ends it in order."""

    def __init__(
        self, app: FastAPI, settings: ServerSettings, stands: Standing, listens: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                lifespan="off",
                http="h11",  # httptools, which uvicorn prefers where it is installed, takes a head of any length
                ws=SessionSocket,
                ws_max_size=MAX_MESSAGE,
                timeout_graceful_shutdown=GRACE,
                ssl_certfile=settings.tls_cert,
                ssl_keyfile=settings.tls_key,
                log_config=None,
                access_log=False,
                server_header=False,
                # uvicorn believes loopback by itself: whoever is on this machine would say which address they are at
                proxy_headers=bool(settings.trusted_proxies),
                forwarded_allow_ips=trusted(settings.trusted_proxies),
            )
        )
        self._stands = stands
        self._listens = listens
        self._silence = settings.ping_interval
        self._most_connections = settings.most_connections
        self._unheard = Unheard()
        self._doors: list[Door] = []

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # Not remembered: uvicorn would raise it again before the store is closed.
        self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        """uvicorn calls it every tenth of a second."""
        if counter % CHECKED_IN == 0:
            now = asyncio.get_running_loop().time()
            http: list[HttpConnection] = []
            for connection in list(self.server_state.connections):
                if isinstance(connection, SessionSocket):
                    connection.check(now, self._silence)
                else:
                    http.append(cast(HttpConnection, connection))
            self._unheard.check(http, now)
        return await super().on_tick(counter)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup([])  # it would accept all who wait in one go
        for listening in sockets or ():
            self._doors.append(Door(listening, self._protocol, self.config.ssl))
        if (plane := self._stands.plane) is not None:
            plane.own.listening()
        self._listens()

    def _protocol(self) -> asyncio.Protocol:
        plane = self._stands.plane
        agents = plane.rooms.sessions.used if plane is not None else 0
        if len(self.server_state.connections) - agents >= self._most_connections:
            gone = self._unheard.make_room()
            if gone is None:
                return Full()
            self.server_state.connections.discard(cast(Any, gone))  # it says so itself a turn later
        make: Callable[..., asyncio.Protocol] = self.config.http_protocol_class
        return make(config=self.config, server_state=self.server_state, app_state={})

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for door in self._doors:
            door.close()
        await self._stands.leave()
        await super().shutdown(sockets)
