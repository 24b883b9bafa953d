"""Leading and standing by: what a term opens when it begins, and closes when it ends."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager

from sqlalchemy import text

from modeldist.control.audit_trail import AuditTrail
from modeldist.control.conversation import NOT_LEADING
from modeldist.control.plane import ControlPlane, audit_trail, opened_database, opened_origins, running
from modeldist.control.ports import Resolves
from modeldist.control.replicas.campaign import Campaign
from modeldist.control.replicas.held import Held
from modeldist.control.settings import ServerSettings
from modeldist.control.standing import Alone, Standing, stands_by
from modeldist.control.store.database import Database
from modeldist.control.store.meta import Meta
from modeldist.control.store.terms import Term
from modeldist.control.store.tokens import Tokens
from modeldist.control.webhooks.destinations import Destinations
from modeldist.errors import ModeldistError, NotLeading, UsageError
from modeldist.origins.background_loop import BackgroundLoop
from modeldist.transfer.cluster_time import ClusterTime

log = logging.getLogger(__name__)

OLDEST = 140000  # of PostgreSQL, whose idle_session_timeout frees the lock of a process that is stopped
AGAIN = 1.0  # seconds after a term that could not be begun


@asynccontextmanager
async def standing(settings: ServerSettings, url: str, *, origins: Resolves | None = None) -> AsyncIterator[Standing]:
    """This process among its replicas, whose address is `url`; returns when it leads or stands by. On SQLite it is the
    only one and leads. Raises StorageError, UsageError."""
    Destinations(settings.webhook_hosts)  # a wrong one is said now, not when this replica is to lead
    async with opened_database(settings) as database, opened_origins(settings, origins) as resolves:
        if database.engine.dialect.name != "postgresql":
            async with running(settings, origins=resolves, database=database) as plane:
                yield Alone(plane)
            return
        await _check_version(database)
        noted = await Meta(database).noted_time()
        audit = audit_trail(settings, database, ClusterTime(time.time(), noted))
        replica = Replica(settings, url, database, resolves, audit)
        try:
            await replica.start()
            yield replica
        finally:
            await replica.leave()
            await audit.close()


async def _check_version(database: Database) -> None:
    async with database.transaction() as session:
        version = int((await session.execute(text("SHOW server_version_num"))).scalar_one())
    if version < OLDEST:
        raise UsageError(
            f"PostgreSQL {version // 10000} cannot hold the lock of a leader.",
            remedy="Use PostgreSQL 14 or a later one.",
        )


class Replica:
    """A `Standing` that competes for the lead."""

    def __init__(
        self, settings: ServerSettings, url: str, database: Database, origins: Resolves, audit: AuditTrail
    ) -> None:
        self._settings = settings
        self._database = database
        self._origins = origins
        self.audit = audit
        self._tokens = Tokens(database)
        self._plane: ControlPlane | None = None
        self._held: Held | None = None
        self._leader: Term | None = None
        self._settled = asyncio.Event()
        self._won: asyncio.Queue[Held] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._thread = BackgroundLoop("leader lock")
        self._campaign = Campaign(lambda: database.engine, secrets.token_hex(8), url, self._loop, self)
        self._competing: Future[None] | None = None
        self._running: asyncio.Task[None] | None = None

    # --- what requests ask ------------------------------------------------------------------------------------------

    @property
    def plane(self) -> ControlPlane | None:
        return self._plane if self._held is not None and self._held.valid() else None

    @property
    def tokens(self) -> Tokens:
        plane = self.plane
        return plane.tokens if plane is not None else self._tokens

    @property
    def broken(self) -> bool:
        """It will never lead again, or leads with a clock that stands still."""
        plane = self.plane
        ended = self._running is not None and self._running.done()
        return ended or (self._competing is not None and self._competing.done()) or (plane is not None and plane.broken)

    def refusal(self) -> NotLeading:
        return stands_by(self._leader.url if self._leader is not None else "")

    # --- what the campaign tells, in its thread -----------------------------------------------------------------------

    def won(self, held: Held) -> None:
        self._loop.call_soon_threadsafe(self._won.put_nowait, held)

    def stands_by(self, leader: Term | None) -> None:
        if leader != self._leader:
            self._leader = leader
            log.info("stands by: %s", f"{leader.url} leads" if leader else "nobody is known to lead")
        if not self._settled.is_set():
            self._loop.call_soon_threadsafe(self._settled.set)

    # --- one term after the other -------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Return when it leads or stands by. Raises what keeps a first term from beginning."""
        self._competing = self._thread.start(self._campaign.run())
        self._running = asyncio.create_task(self._terms(), name="terms")
        settled = asyncio.create_task(self._settled.wait())
        await asyncio.wait({settled, self._running}, return_when=asyncio.FIRST_COMPLETED)
        settled.cancel()
        if self._running.done():
            await self._running

    async def leave(self) -> None:
        """Lead no more: close what the term opened, then let others lead. Harmless the second time."""
        if self._running is not None:
            if self._held is not None:
                self._held.end("this replica stops")
                await asyncio.wrap_future(self._held.left)
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        competing, self._competing = self._competing, None
        if competing is not None:
            await asyncio.to_thread(self._thread.stop)

    async def _terms(self) -> None:
        while True:
            held = self._held = await self._won.get()
            failed = True
            try:
                await self._lead(held)
                failed = False
            except ModeldistError as error:
                if not self._settled.is_set():
                    raise
                log.error("cannot lead: %s", error)
            except Exception:
                log.exception("cannot lead")
            finally:
                self._plane = None
                held.end("it cannot lead")
                if not held.left.done():
                    held.left.set_result(None)
            if failed:
                await asyncio.sleep(AGAIN)

    async def _lead(self, held: Held) -> None:
        database = self._database.during(held.term)
        async with running(
            self._settings, origins=self._origins, database=database, audit=self.audit, leads=held.valid
        ) as plane:
            if held.over.is_set():
                return
            self._plane, self._leader = plane, held.term
            self._settled.set()
            log.info("leads, in term %d", held.term.number)
            await held.over.wait()
            self._plane = None
            log.warning("leads no more: %s", held.why)
            plane.book.end_streams()
            plane.core.end_sessions(NOT_LEADING)
