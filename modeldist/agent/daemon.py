"""The long-running agent: store, piece server, session with the control plane, engine, local API."""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from starlette.types import Receive, Scope, Send

from modeldist.agent.certificate_keeper import CertificateKeeper
from modeldist.agent.config import EngineConfig, few_cores
from modeldist.agent.engine import Engine
from modeldist.agent.enrolling import enrol, renew
from modeldist.agent.gateway_connection import GatewayConnection
from modeldist.agent.identity import NodeIdentity
from modeldist.agent.leaving import Leaving
from modeldist.agent.link import WebSocketLink
from modeldist.agent.local_api import create_local_app
from modeldist.agent.local_client import LocalAgent
from modeldist.agent.metrics import AgentMetrics
from modeldist.agent.metrics.connection import ScrapeConnection
from modeldist.agent.metrics.endpoint import MetricsEndpoint
from modeldist.agent.pulls import Pulls
from modeldist.agent.repairing import Repairs
from modeldist.agent.resuming import resume
from modeldist.agent.scrubbing import Scrub
from modeldist.agent.serving import (
    Served,
    address_of,
    gateway_socket,
    is_any,
    listen_local,
    metrics_socket,
    serve,
    split_address,
)
from modeldist.agent.settings import AgentSettings
from modeldist.agent.store import Store
from modeldist.agent.store.locks import try_lock
from modeldist.agent.store_commands import StoreCommands
from modeldist.agent.updating import Updates, versions_of_launcher
from modeldist.artifact import Digest
from modeldist.errors import AgentError, UsageError
from modeldist.foreign_hands import others_who_may_write
from modeldist.logger import Logger
from modeldist.origins.router import Origins
from modeldist.origins.settings import OriginSettings
from modeldist.origins.trust_gate import policy_at
from modeldist.scheduler.messages import Location
from modeldist.session.addresses import addresses
from modeldist.session.messages import Welcome
from modeldist.transfer.base import ServerLimits
from modeldist.transfer.capability import CapabilityChecker
from modeldist.transfer.cluster_time import LearnedTime
from modeldist.transfer.link_shard import WithLinkShard
from modeldist.transfer.tcp import TcpPieceServer, TcpTransport
from modeldist.transfer.tls.security import PieceSecurity
from modeldist.transfer.verbs import NodeRails, in_memory
from modeldist.upgrade.keys import release_keys
from modelpack.oci.addresses import is_loopback
from rdma.devices import SYSFS

log = Logger(__name__)

_LINK_TIMEOUT = 1.0  # seconds to connect to who is measured


class DropIn(Protocol):
    """The drop-in endpoints beside the agent (`modeldist.gateway.app.Gateway`), an ASGI application."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...
    async def close(self) -> None: ...


MakeDropIn = Callable[[Engine, Pulls, Origins, str], DropIn]
"""Of the agent's engine, pulls and origins, and the host:port it will be served at."""


async def run_agent(settings: AgentSettings, gateway: MakeDropIn | None = None) -> bool:
    """Run until SIGTERM or SIGINT, or until another version is to run in this one's place (True). `gateway` makes what
    is served where `settings.gateway` says. Raises ModeldistError when it cannot start."""
    split_address(settings.listen)
    release_keys(settings.release_key)
    marks = settings.watermarks()
    settings.scrub_pace()
    settings.metrics_token()
    with (
        only_listener(settings.socket),
        gateway_socket(settings.gateway) as listener,
        metrics_socket(settings.metrics) as scraped,
    ):
        store = await asyncio.to_thread(lambda: Store.open(settings.store, hub=settings.hub))
        store.watermarks = marks
        try:
            with only_agent(settings.store):
                await asyncio.to_thread(say_who_else_writes, settings)
                return await _run(settings, store, gateway if listener else None, listener, scraped)
        finally:
            store.close()


async def _run(
    settings: AgentSettings,
    store: Store,
    gateway: MakeDropIn | None,
    listener: socket.socket | None,
    scraped: socket.socket | None,
) -> bool:
    own = await enrolled(settings, store)
    security = PieceSecurity()
    rails = await asyncio.to_thread(node_rails, settings)
    keeping: asyncio.Task[None] | None = None
    if own is not None:
        security.show(own.contexts())
        keeper = CertificateKeeper(own, security, partial(renew, settings.control, own))
        keeping = asyncio.create_task(keeper.run(), name="certificate")
    try:
        return await _run_with(rails, settings, store, own, security, gateway, listener, scraped)
    finally:
        if keeping is not None:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
        if rails is not None:
            await asyncio.to_thread(rails.close)


async def enrolled(settings: AgentSettings, store: Store) -> NodeIdentity | None:
    """What the node was given when it was enrolled, which it is now if it has a join token and was not before. None for
    one that has the agents' token. Raises UsageError, ControlPlaneError, StorageError."""
    own = NodeIdentity(store.root)
    if own.enrolled:
        return own
    if not settings.joins:
        return None
    try:
        token = settings.join_secret()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The join token cannot be read: {error}.", remedy="Correct --join-token-file.") from error
    await enrol(settings.control, token, store.node_id, own)
    log.info("this node is enrolled", node=store.node_id, kept_in=str(own.folder))
    return own


async def _run_with(
    rails: NodeRails | None,
    settings: AgentSettings,
    store: Store,
    own: NodeIdentity | None,
    security: PieceSecurity,
    gateway: MakeDropIn | None,
    listener: socket.socket | None,
    scraped: socket.socket | None,
) -> bool:
    gate = Gate()
    server = piece_server(settings, store, gate, rails, security)
    if alone := serves_nobody(settings, server.address):
        log.warning("no other node can fetch from this one", why=alone)
    origins = Origins(origin_settings(settings))
    transport = _transport(rails, security)
    engine = Engine(
        store,
        WebSocketLink(settings.control, own.token if own is not None else settings.secret()),
        origins,
        transport,
        server=server,
        address=settings.advertise or server.address,
        measuring=TcpTransport(connect_timeout=_LINK_TIMEOUT, security=security),
        config=EngineConfig(
            name=settings.name or socket.gethostname(),
            location=Location(settings.rack, settings.zone),
            labels=settings.labels,
            origin_streams=settings.origin_streams,
            download_rate=settings.download_rate,
            upload_rate=settings.upload_rate,
            patience=settings.patience,
        ),
    )

    def welcomed(welcome: Welcome) -> None:
        if welcome.piece_tls != security.mode:
            security.change(welcome.piece_tls)
            server.security_changed()
            transport.security_changed()
            log.info("TLS between nodes", piece_tls=welcome.piece_tls, enrolled=own is not None)
        gate.learn(welcome)

    engine.on_welcome = welcomed
    engine.rdma_missing = partial(rdma_missing, settings, rails)
    pulls = Pulls(engine, origins.canonical, approving=origins if settings.policy else None)
    commands = StoreCommands(engine, origins.canonical)
    updates = Updates(engine, pulls, keys=release_keys(settings.release_key), versions=versions_of_launcher())
    repairs = Repairs(engine, pulls)
    scrub = _scrub(settings, engine, repairs)
    preparing = asyncio.create_task(_prepare(origins))
    drop_in: DropIn | None = None
    try:
        beside: list[Served] = []
        address = ""
        if gateway is not None and listener is not None:
            address = address_of(listener)
            drop_in = gateway(engine, pulls, origins, address)
            beside.append(Served(drop_in, listener, GatewayConnection))
            log.info("gateway", hf_endpoint=f"http://{address}")
        if scraped is not None:
            beside.append(_metrics(AgentMetrics(engine, pulls, rails), settings, scraped))
        await engine.start()
        _begin(store, engine, pulls, repairs, scrub)
        log.info("agent started", node=store.node_id, pieces=server.address, socket=str(settings.socket))
        await serve_local(settings.socket, engine, pulls, rails, beside, scrub, gateway=address)
        return updates.restarting
    finally:
        if scrub is not None:
            await asyncio.to_thread(scrub.close)
        if drop_in is not None:
            await drop_in.close()
        for part in (updates, pulls, commands, engine):
            await part.close()
        await asyncio.to_thread(server.close)
        await preparing
        await origins.close()


def _begin(store: Store, engine: Engine, pulls: Pulls, repairs: Repairs, scrub: Scrub | None) -> None:
    """What goes on by itself once the engine runs."""
    resume(store.root, engine, pulls)
    engine.node.loop.spawn(repairs.run(), "repairs")
    if scrub is not None:
        scrub.start()


def _scrub(settings: AgentSettings, engine: Engine, repairs: Repairs) -> Scrub | None:
    pace = settings.scrub_pace()
    if pace is None:
        return None

    def busy() -> bool:
        return bool(engine.node.fetches) or (engine.server is not None and engine.server.load().requests > 0)

    return Scrub(engine.store, pace, busy, lambda: engine.node.loop.post(repairs.wake))


def _metrics(metrics: AgentMetrics, settings: AgentSettings, listener: socket.socket) -> Served:
    log.info("metrics", url=f"http://{address_of(listener)}/metrics")
    return Served(MetricsEndpoint(metrics, settings.metrics_token()), listener, ScrapeConnection)


def node_rails(settings: AgentSettings) -> NodeRails | None:
    """RDMA, where this machine has it; says what it found."""
    if settings.rdma == "off":
        log.info("RDMA is switched off: pieces move over TCP")
        return None
    if not SYSFS.is_dir():
        (log.warning if settings.rdma_devices else log.info)("no RDMA on this machine: pieces move over TCP")
        return None
    rails = NodeRails(only=settings.rdma_devices, memory=settings.rdma_memory, in_memory=in_memory(settings.store))
    log.info(rails.start())
    return rails


def rdma_missing(settings: AgentSettings, rails: NodeRails | None) -> str:
    """Why the devices that were named are not used; empty where none was, or one is."""
    if settings.rdma == "off" or not settings.rdma_devices:
        return ""
    if rails is None:
        named = ", ".join(settings.rdma_devices)
        return f"This machine has no RDMA device, and --rdma-device asks for {named}."
    return "" if rails.rails else rails.summary()


def _transport(rails: NodeRails | None, security: PieceSecurity) -> TcpTransport:
    """On a few cores all is hashed by who receives it: for the sum of all CPU it is the least, and no core is idle."""
    if few_cores():
        return TcpTransport(hash_below=math.inf, rails=rails, security=security)
    return TcpTransport(rails=rails, security=security)


async def _prepare(origins: Origins) -> None:
    """What a first pull would import, while nobody waits."""
    try:
        await origins.prepare()
        await asyncio.to_thread(import_module, "blake3")
    except Exception:
        log.exception("cannot import what pulls need")


@contextmanager
def only_listener(path: Path) -> Iterator[None]:
    """Who holds this may replace and remove the socket `path`. Raises AgentError when another agent may.

    The lock file beside it stays: one that comes and goes would have to be guarded itself.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        held = try_lock(path.with_name(path.name + ".lock"))
    except OSError as error:
        raise AgentError(f"Cannot listen on {path}: {error}.", remedy="Choose another --socket.") from error
    if held is None:
        raise _taken(path)
    with held:
        if LocalAgent(path).running():  # one that knows no such lock
            raise _taken(path)
        yield


def _taken(path: Path) -> AgentError:
    return AgentError(f"An agent already listens on {path}.", remedy="Stop it, or give this one --socket and --store.")


@contextmanager
def only_agent(store: Path) -> Iterator[None]:
    """Two agents on one store would be one node twice. Raises AgentError when another one is there."""
    held = try_lock(store / "agent.lock")
    if held is None:
        raise AgentError(
            f"Another agent works with the store {store}.", remedy="Stop it, or give this one --socket and --store."
        )
    with held:
        yield


def piece_server(
    settings: AgentSettings,
    store: Store,
    gate: Gate,
    rails: NodeRails | None = None,
    security: PieceSecurity | None = None,
) -> TcpPieceServer:
    """Listens at once. Raises AgentError when it cannot."""
    host, port = split_address(settings.listen)
    try:
        return TcpPieceServer(
            WithLinkShard(store.directory()),
            host=host,
            port=port,
            check=gate,
            limits=ServerLimits(upload_rate=settings.upload_rate),
            node=store.node_id,
            rails=rails,
            security=security,
        )
    except OSError as error:
        raise AgentError(
            f"Cannot serve pieces on {settings.listen}: {error.strerror or error}.",
            remedy="Stop what listens there, or choose an address of this machine with --listen.",
        ) from error


def serves_nobody(settings: AgentSettings, address: str) -> str:
    """Why nodes elsewhere cannot connect to this one; empty when nothing is known against it."""
    told = split_address(settings.advertise or address)[0]
    if all(is_loopback(urlsplit(url).hostname or "") for url in addresses(settings.control)):
        return ""
    if is_any(told):
        return f"{told} is no address to connect to; give --advertise HOST:PORT"
    if is_loopback(told):
        return f"{told} is this machine alone, while the control plane is elsewhere; give --listen HOST:PORT"
    return ""


class Gate:
    """Checks capabilities with the key the control plane announced, in the time it announced; before any announcement
    nobody may read."""

    def __init__(self) -> None:
        self._time = LearnedTime()
        self._checker: CapabilityChecker | None = None
        self._key = b""

    def learn(self, welcome: Welcome) -> None:
        self._time.learn(welcome.now)
        key = welcome.capability_key
        if key != self._key:
            self._key, self._checker = key, CapabilityChecker(key, self._time)

    def __call__(self, capability: bytes, child: str, shard: Digest) -> bool:
        return self._checker is not None and self._checker(capability, child, shard)


async def serve_local(
    path: Path,
    engine: Engine,
    pulls: Pulls,
    rails: NodeRails | None = None,
    beside: Sequence[Served] = (),
    scrub: Scrub | None = None,
    *,
    gateway: str = "",
) -> None:
    """Serve the local API, and what is `beside` it on listening sockets of its own, until a signal. `gateway`: the
    host:port of the drop-in endpoints, if they are among that."""
    listener = listen_local(path)
    leaving = Leaving()
    try:
        app = create_local_app(engine, pulls, rails, gateway, scrub, leaving)
        await serve([Served(app, listener), *beside], leaving)
    finally:
        listener.close()
        path.unlink(missing_ok=True)  # noqa: ASYNC240 - the loop is about to end


def say_who_else_writes(settings: AgentSettings) -> None:
    """Where files that programs run are kept."""
    for place in (settings.store, settings.hub):
        if place is not None and place.is_dir() and (others := others_who_may_write(place)):
            log.warning("the models here may be changed by others: chown, chmod o-w", place=str(place), by=others)


def origin_settings(settings: AgentSettings) -> OriginSettings:
    """What this agent may read, and how. Files only below the directories it was given."""
    return OriginSettings(
        default_registry=settings.default_registry,
        plain_http=frozenset(settings.plain_http),
        hf_endpoint=settings.hf_endpoint or None,
        file_roots=settings.file_roots,
        policy=policy_at(settings.policy),
    )
