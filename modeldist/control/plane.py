"""A running control plane: the core, its store, its pulls and its clocks, put together from settings."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from modeldist.control.admission.memory import Memory
from modeldist.control.admission.rooms import Rooms
from modeldist.control.audit_trail import AuditTrail
from modeldist.control.authority_watch import AuthorityWatch
from modeldist.control.bootstrap import first_tokens, prepare_state_dir
from modeldist.control.core import ControlCore, core_class
from modeldist.control.delivery import Delivery
from modeldist.control.enrolment import Enrolment
from modeldist.control.greeting import ReportIntervals
from modeldist.control.ports import IssuesCapabilities, Resolves, SchedulerWithViews
from modeldist.control.pulls.book import PullBook
from modeldist.control.pulls.shown import notice
from modeldist.control.registry import Registry
from modeldist.control.resolver import Resolver
from modeldist.control.rollouts.book import RolloutBook
from modeldist.control.rollouts.own import OwnUpdate
from modeldist.control.settings import ServerSettings
from modeldist.control.store.artifacts import Artifacts
from modeldist.control.store.audit import AuditRecords
from modeldist.control.store.database import Database, sqlite_url
from modeldist.control.store.deliveries import Deliveries
from modeldist.control.store.jobs import Jobs
from modeldist.control.store.meta import Meta
from modeldist.control.store.nodes import Nodes
from modeldist.control.store.pulls import Pulls
from modeldist.control.store.rollouts import Rollouts
from modeldist.control.store.schema import revision_of
from modeldist.control.store.tokens import Tokens
from modeldist.control.token_watch import TokenWatch
from modeldist.control.webhooks.deliveries import Webhooks
from modeldist.control.webhooks.destinations import Destinations
from modeldist.transfer.cluster_time import ClusterTime

log = logging.getLogger(__name__)

DATABASE = "control.sqlite"  # in the state directory
CATALOGUE = 0.1  # of the memory, for artifacts kept decoded
NOTE_NODES = 60.0  # seconds between two writes of when connected nodes were last heard
NOTE_TIME = 60.0  # seconds between two writes of the time in which capabilities expire
RECENT = 300.0  # seconds; nodes seen since then are waited for after a restart: what they read has not ended long ago


@dataclass(frozen=True)
class ControlPlane:
    """Everything the API asks. `started_at` is monotonic seconds; `new_tokens` the files of a first start;
    `clocks` what it does by itself."""

    settings: ServerSettings
    cluster: str
    database: Database
    rooms: Rooms
    core: ControlCore
    delivery: Delivery
    scheduler: SchedulerWithViews
    book: PullBook
    registry: Registry
    tokens: Tokens
    token_watch: TokenWatch
    authority_watch: AuthorityWatch
    enrolment: Enrolment
    artifacts: Artifacts
    nodes: Nodes
    jobs: Jobs
    deliveries: Deliveries
    destinations: Destinations
    rollouts: RolloutBook
    own: OwnUpdate
    audit: AuditTrail
    started_at: float
    new_tokens: list[Path]
    clocks: Sequence[asyncio.Task[None]] = ()

    @property
    def broken(self) -> bool:
        """One of its clocks has ended: they run as long as it does."""
        return any(clock.done() for clock in self.clocks)


@asynccontextmanager
async def opened_database(settings: ServerSettings) -> AsyncIterator[Database]:
    """At this version's schema. Raises StorageError, UsageError."""
    prepare_state_dir(settings.state_dir)
    database = await Database.open(settings.database_url or sqlite_url(settings.state_dir / DATABASE))
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def opened_origins(settings: ServerSettings, given: Resolves | None = None) -> AsyncIterator[Resolves]:
    """Every kind of origin, with what they import. `given` ones stay the caller's to close. Raises UsageError."""
    if given is not None:
        yield given
        return
    from modeldist.origins.router import Origins
    from modeldist.origins.settings import OriginSettings
    from modeldist.origins.trust_gate import policy_at

    origins = Origins(
        OriginSettings(
            default_registry=settings.default_registry,
            plain_http=frozenset(settings.plain_http_registries),
            file_roots=settings.file_roots,
            policy=policy_at(settings.policy),
        )
    )
    preparing = asyncio.create_task(origins.prepare())
    try:
        yield origins
    finally:
        await _stop(preparing)
        await origins.close()


@asynccontextmanager
async def running(
    settings: ServerSettings,
    *,
    origins: Resolves | None = None,
    scheduler: SchedulerWithViews | None = None,
    database: Database | None = None,
    audit: AuditTrail | None = None,
    leads: Callable[[], bool] = lambda: True,
    now: Callable[[], float] = time.time,
) -> AsyncIterator[ControlPlane]:
    """Read the store, start the clocks; write and stop at the end. `origins` and a `database` given stay the caller's
    to close, and so does `audit`. `leads`: whether it may still say anything to agents. `now`: seconds since the epoch.

    Raises StorageError, UsageError.
    """
    destinations = Destinations(settings.webhook_hosts)
    async with AsyncExitStack() as stack:
        if database is None:
            database = await stack.enter_async_context(opened_database(settings))
        resolves = await stack.enter_async_context(opened_origins(settings, origins))
        meta = Meta(database)
        identity = await meta.identity()
        noted = await meta.noted_time()
        cluster_time = ClusterTime(now(), noted)  # after that, lest it be behind by the time which that took
        await meta.note_time(cluster_time())
        if audit is None:
            audit = audit_trail(settings, database, cluster_time)
            stack.push_async_callback(audit.close)
        audit.time = cluster_time
        tokens, artifacts, nodes = (
            Tokens(database),
            Artifacts(database, most=settings.most_memory * CATALOGUE),
            Nodes(database),
        )
        new_tokens = await first_tokens(tokens, settings.state_dir)

        rooms = Rooms(settings.ceilings(), time.monotonic, Memory(settings.most_memory).share)
        scheduler = scheduler or _phase1(settings)
        recent = await nodes.seen_since(now() - RECENT)
        book = PullBook(Pulls(database), nodes, now, rooms=rooms, returning=partial(_waits, scheduler))
        stack.push_async_callback(book.close)
        await book.load()
        registry = Registry(nodes, time.monotonic, now, known=recent)
        stack.push_async_callback(registry.close)
        rollouts = RolloutBook(
            Rollouts(database),
            lambda node, message: core.send(node, message),  # noqa: PLW0108 - made below
            cluster_time,
        )
        own = OwnUpdate(
            settings,
            rollouts.said_by_own,
            rollouts.written,
            partial(revision_of, database.engine),
            single=database.engine.dialect.name != "postgresql",
        )
        rollouts.own = own
        stack.push_async_callback(rollouts.close)
        stack.push_async_callback(own.close)
        await rollouts.load()

        core = core_class()(
            scheduler=scheduler,
            resolver=_resolver(resolves, artifacts, rooms),
            clock=time.monotonic,
            rooms=rooms,
            cluster=identity.cluster,
            capabilities=_capabilities(identity.capability_key, cluster_time),
            piece_tls=settings.piece_tls,
            watchers=(registry, book, rollouts),
            intervals=ReportIntervals(
                settings.report_interval_shortest,
                settings.report_interval_longest,
                settings.report_interval_longest_at,
            ),
            leads=leads,
        )
        core.on_update = rollouts.updated
        stack.push_async_callback(core.close)
        deliveries = Deliveries(database)
        webhooks = Webhooks(deliveries, now, notice, destinations)
        token_watch = TokenWatch(tokens, core, time.monotonic, book.watches)
        await token_watch.look()
        authority_watch = AuthorityWatch(meta, cluster_time, now, settings.certificate_lifetime, leads)
        await authority_watch.look()
        watches = (token_watch.run(), authority_watch.run())
        notes = (_note_nodes(registry), _note_time(meta, cluster_time))
        loops = (core.run_ticks(), book.run_deadlines(), webhooks.run(), rollouts.run(), *notes, *watches)
        scheduler.expect(recent, time.monotonic())  # last, since nobody can come back before
        clocks = [asyncio.create_task(loop) for loop in loops]
        for clock in clocks:
            stack.push_async_callback(_stop, clock)
        yield ControlPlane(
            settings=settings,
            cluster=identity.cluster,
            database=database,
            rooms=rooms,
            core=core,
            delivery=Delivery(),
            scheduler=scheduler,
            book=book,
            registry=registry,
            tokens=tokens,
            token_watch=token_watch,
            authority_watch=authority_watch,
            enrolment=Enrolment(tokens, authority_watch, token_watch.enrols),
            artifacts=artifacts,
            nodes=nodes,
            jobs=Jobs(database),
            deliveries=deliveries,
            destinations=destinations,
            rollouts=rollouts,
            own=own,
            audit=audit,
            started_at=time.monotonic(),
            new_tokens=new_tokens,
            clocks=clocks,
        )


def audit_trail(settings: ServerSettings, database: Database, time: Callable[[], float]) -> AuditTrail:
    return AuditTrail(AuditRecords(database), time, most=settings.audit_records, age=settings.audit_age)


def _waits(scheduler: SchedulerWithViews) -> bool:
    return scheduler.waiting(time.monotonic())


async def _note_nodes(registry: Registry) -> None:
    while True:
        await asyncio.sleep(NOTE_NODES)
        registry.note_all()


async def _note_time(meta: Meta, cluster_time: ClusterTime) -> None:
    while True:
        await asyncio.sleep(NOTE_TIME)
        try:
            await meta.note_time(cluster_time())
        except Exception as error:  # the database may be away: what is lost is how far a wrong clock may set it back
            log.warning("the cluster's time was not noted, and will be in a minute: %s", error)


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _resolver(origins: Resolves, artifacts: Artifacts, rooms: Rooms) -> Resolver:
    from modeldist.origins.router import Origins

    if isinstance(origins, Origins):
        return Resolver(origins, artifacts, time.monotonic, origins.accepts, rooms)
    return Resolver(origins, artifacts, time.monotonic, rooms=rooms)


def _phase1(settings: ServerSettings) -> SchedulerWithViews:
    from random import Random

    from modeldist.scheduler.phase1 import OriginLimits, Phase1, Phase1Config

    limits = OriginLimits(streams=settings.origin_streams, rate=settings.origin_rate)
    config = Phase1Config(default_origin=limits)
    return Phase1(config if settings.measure_links else replace(config, measure_interval=0.0), Random())


def _capabilities(key: bytes, cluster_time: ClusterTime) -> IssuesCapabilities:
    from modeldist.transfer.capability import CapabilityIssuer

    return CapabilityIssuer(key, cluster_time)
