"""A running control plane: the core, its store, its pulls and its clocks, put together from settings."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modeldist.control.admission.memory import Memory
from modeldist.control.admission.rooms import Rooms
from modeldist.control.api.pull_views import notice
from modeldist.control.bootstrap import first_tokens, prepare_state_dir
from modeldist.control.core import ControlCore
from modeldist.control.delivery import Delivery
from modeldist.control.enrolment import Enrolment
from modeldist.control.greeting import ReportIntervals
from modeldist.control.ports import IssuesCapabilities, Resolves, SchedulerWithViews
from modeldist.control.pulls.book import PullBook
from modeldist.control.registry import Registry
from modeldist.control.resolver import Resolver
from modeldist.control.settings import ServerSettings
from modeldist.control.store.artifacts import Artifacts
from modeldist.control.store.database import Database, sqlite_url
from modeldist.control.store.deliveries import Deliveries
from modeldist.control.store.jobs import Jobs
from modeldist.control.store.meta import Meta
from modeldist.control.store.nodes import Nodes
from modeldist.control.store.pulls import Pulls
from modeldist.control.store.tokens import Tokens
from modeldist.control.webhooks.deliveries import Webhooks
from modeldist.control.webhooks.destinations import Destinations
from modeldist.transfer.tls.authority import Authority

if TYPE_CHECKING:
    from modeldist.origins.router import Origins

DATABASE = "control.sqlite"  # in the state directory
CATALOGUE = 0.1  # of the memory, for artifacts kept decoded
NOTE_NODES = 60.0  # seconds between two writes of when connected nodes were last heard
RECENT = 300.0  # seconds; nodes seen since then are waited for after a restart: what they read has not ended long ago


@dataclass(frozen=True)
class ControlPlane:
    """Everything the API asks. `started_at` is monotonic seconds; `new_tokens` the files of a first start."""

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
    enrolment: Enrolment
    artifacts: Artifacts
    nodes: Nodes
    jobs: Jobs
    deliveries: Deliveries
    destinations: Destinations
    started_at: float
    new_tokens: list[Path]


@asynccontextmanager
async def running(
    settings: ServerSettings,
    *,
    origins: Resolves | None = None,
    scheduler: SchedulerWithViews | None = None,
    now: Callable[[], float] = time.time,
) -> AsyncIterator[ControlPlane]:
    """Open the store, start the clocks; write and stop at the end. `origins` given stay the caller's to close. `now`:
    seconds since the epoch.

    Raises StorageError, UsageError.
    """
    destinations = Destinations(settings.webhook_hosts)
    async with AsyncExitStack() as stack:
        prepare_state_dir(settings.state_dir)
        database = await Database.open(settings.database_url or sqlite_url(settings.state_dir / DATABASE))
        stack.push_async_callback(database.close)
        identity = await Meta(database).identity()
        tokens, artifacts, nodes = (
            Tokens(database),
            Artifacts(database, most=settings.most_memory * CATALOGUE),
            Nodes(database),
        )
        new_tokens = await first_tokens(tokens, settings.state_dir)

        rooms = Rooms(settings.ceilings(), time.monotonic, Memory(settings.most_memory).share)
        book = PullBook(Pulls(database), nodes, now, rooms=rooms)
        stack.push_async_callback(book.close)
        await book.load()
        registry = Registry(nodes, time.monotonic, now)
        stack.push_async_callback(registry.close)

        resolver = await _resolver(settings, stack, artifacts, origins, rooms)
        scheduler = scheduler or _phase1(settings)
        scheduler.expect(await nodes.seen_since(now() - RECENT), time.monotonic())
        core = ControlCore(
            scheduler=scheduler,
            resolver=resolver,
            clock=time.monotonic,
            rooms=rooms,
            cluster=identity.cluster,
            capabilities=_capabilities(identity.capability_key),
            piece_tls=settings.piece_tls,
            watchers=(registry, book),
            intervals=ReportIntervals(
                settings.report_interval_shortest,
                settings.report_interval_longest,
                settings.report_interval_longest_at,
            ),
        )
        stack.push_async_callback(core.close)
        deliveries = Deliveries(database)
        webhooks = Webhooks(deliveries, now, notice, destinations)
        for loop in (core.run_ticks(), book.run_deadlines(), webhooks.run(), _note_nodes(registry)):
            stack.push_async_callback(_stop, asyncio.create_task(loop))
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
            enrolment=Enrolment(tokens, Authority(identity.authority, now), settings.certificate_lifetime),
            artifacts=artifacts,
            nodes=nodes,
            jobs=Jobs(database),
            deliveries=deliveries,
            destinations=destinations,
            started_at=time.monotonic(),
            new_tokens=new_tokens,
        )


async def _note_nodes(registry: Registry) -> None:
    while True:
        await asyncio.sleep(NOTE_NODES)
        registry.note_all()


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _resolver(
    settings: ServerSettings, stack: AsyncExitStack, artifacts: Artifacts, given: Resolves | None, rooms: Rooms
) -> Resolver:
    if given is not None:
        return Resolver(given, artifacts, time.monotonic, rooms=rooms)
    origins = await _origins(settings, stack)
    return Resolver(origins, artifacts, time.monotonic, origins.accepts, rooms)


async def _origins(settings: ServerSettings, stack: AsyncExitStack) -> Origins:
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
    stack.push_async_callback(origins.close)
    stack.push_async_callback(_stop, asyncio.create_task(origins.prepare()))
    return origins


def _phase1(settings: ServerSettings) -> SchedulerWithViews:
    from random import Random

    from modeldist.scheduler.phase1 import OriginLimits, Phase1, Phase1Config

    limits = OriginLimits(streams=settings.origin_streams, rate=settings.origin_rate)
    return Phase1(Phase1Config(default_origin=limits), Random())


def _capabilities(key: bytes) -> IssuesCapabilities:
    from modeldist.transfer.capability import CapabilityIssuer

    return CapabilityIssuer(key, time.time)
