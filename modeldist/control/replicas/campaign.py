"""Competing for the lead and keeping it, on an event loop in a thread of its own: a long turn of the server's loop, as
when thousands of agents come back at once, must not cost the lead."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncEngine

from modeldist.control.replicas.held import Held, clock
from modeldist.control.replicas.lock import LeaderLock, LockLost
from modeldist.control.store.terms import Term

log = logging.getLogger(__name__)

LOOK = 0.25  # seconds between two attempts at a lock that another one holds
BEAT = 0.5  # seconds between two signs of a leader
AWAY = 1.0  # seconds between two attempts to reach PostgreSQL


class Told(Protocol):
    """What is heard of a campaign, on the thread's loop."""

    def won(self, held: Held) -> None: ...
    def stands_by(self, leader: Term | None) -> None:
        """Another one has the lock, or nobody can be asked (None)."""


class Campaign:
    """`replica` and `url`: see `Term`; `server`: the loop on which a term is asked whether it is over."""

    def __init__(
        self, engine: Callable[[], AsyncEngine], replica: str, url: str, server: asyncio.AbstractEventLoop, told: Told
    ) -> None:
        self._engine = engine
        self._replica = replica
        self._url = url
        self._server = server
        self._told = told
        self._trouble = ""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                lock = await LeaderLock.open(self._engine())
                try:
                    await self._compete(lock)
                finally:
                    lock.abort()
            except LockLost as error:
                self._cannot(str(error))
                await asyncio.sleep(AWAY)
            except Exception:
                log.exception("competing for the lead failed")
                await asyncio.sleep(AWAY)

    async def _compete(self, lock: LeaderLock) -> None:
        while not await lock.attempt():
            self._trouble = ""
            self._told.stands_by(await lock.leader())
            await asyncio.sleep(LOOK)
        term = await lock.begin(self._replica, self._url)
        self._trouble = ""
        begun = clock()
        held = Held(term, begun, self._server)
        held.extend(begun, contested=await lock.beat())
        self._told.won(held)
        left = asyncio.wrap_future(held.left)
        awake = asyncio.create_task(_stay_awake(held))
        try:
            await self._keep(lock, held, left)
        finally:
            awake.cancel()
            held.end("nobody keeps its lock")

    async def _keep(self, lock: LeaderLock, held: Held, left: asyncio.Future[None]) -> None:
        """Until everything that the term opened is closed."""
        kept: LeaderLock | None = lock
        while kept is not None:
            try:
                await self._beats(kept, held, left)
                await kept.close()
                await asyncio.sleep(2 * LOOK)  # others first
                return
            except LockLost as error:
                held.lost(f"PostgreSQL does not answer on the connection that holds the lock: {error}")
                if not held.why:
                    log.warning("PostgreSQL is away; this replica goes on, since no other was there: %s", error)
            finally:
                kept.abort()
            kept = await self._again(held, left)
        await left

    async def _beats(self, lock: LeaderLock, held: Held, left: asyncio.Future[None]) -> None:
        lock.on_lost(lambda: held.lost("PostgreSQL closed the connection that holds the lock"))
        while not left.done():
            await asyncio.wait({left}, timeout=BEAT)
            begun = clock()
            held.extend(begun, contested=await lock.beat())

    async def _again(self, held: Held, left: asyncio.Future[None]) -> LeaderLock | None:
        """Nobody else was there: the lock anew, if nobody led meanwhile; None when the term is over."""
        while not held.why and not left.done():
            try:
                lock = await LeaderLock.open(self._engine())
                if await self._regained(lock, held, left):
                    return lock
            except LockLost:
                await asyncio.wait({left}, timeout=AWAY)
        return None

    async def _regained(self, lock: LeaderLock, held: Held, left: asyncio.Future[None]) -> bool:
        """PostgreSQL may not have missed the connection of before yet, and keep its lock for some seconds."""
        kept = False
        try:
            while not left.done() and await lock.leader() == held.term:
                if kept := await lock.attempt():
                    log.info("PostgreSQL is back")
                    return True
                await asyncio.wait({left}, timeout=LOOK)
            held.end("another replica led meanwhile")
            return False
        finally:
            if not kept:
                lock.abort()

    def _cannot(self, trouble: str) -> None:
        self._told.stands_by(None)
        if trouble != self._trouble:
            self._trouble = trouble
            log.error("cannot compete for the lead: %s", trouble)


async def _stay_awake(held: Held) -> None:
    while True:
        await asyncio.sleep(BEAT)
        held.awake(clock())
