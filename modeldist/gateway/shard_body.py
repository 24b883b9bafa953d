"""A shard as the body of an HTTP answer, from its first bytes on while it is still on its way.

What is sent are verified pieces. The last one waits until the digest of the whole is proven: should it not be, the
answer breaks off, and who comes back to resume gets all of it anew.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractContextManager, aclosing, suppress
from typing import NamedTuple

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from modeldist.agent.engine import Engine
from modeldist.agent.file_connection import FILES, FileConnection
from modeldist.agent.shard_fetch import ShardFetch
from modeldist.agent.store.directory import OpenedShard
from modeldist.agent.while_heard import while_heard
from modeldist.agent.wishes import Wish
from modeldist.errors import Cancelled, IntegrityError, ModeldistError, StorageError
from modeldist.gateway.flights import Flight, Flights
from modeldist.logger import Logger
from modeldist.scheduler.pieces import PieceSet

log = Logger(__name__)

MOST = 64 << 20  # bytes sent between two looks at what is verified
SETTLED = 5.0  # seconds for a fetch to end whose bytes were wrong: who asks again shall find a new one


class Span(NamedTuple):
    """Bytes `start` to `stop` of the open file `fd`, which stays open until the next one is asked for."""

    fd: int
    start: int
    stop: int


async def shard_spans(
    engine: Engine, flights: Flights, flight: Flight, start: int, stop: int
) -> AsyncGenerator[Span, None]:
    """Bytes `start` to `stop` of the shard. Raises ModeldistError, also in the middle."""
    shard, store = flight.shard, engine.store
    news = asyncio.Event()
    loop = asyncio.get_running_loop()

    def heard(_: PieceSet, __: bool) -> None:
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(news.set)

    def landed(_: asyncio.Task[None]) -> None:
        news.set()

    stop_watching = store.directory().watch(shard.digest, heard)
    flight.task.add_done_callback(landed)
    reading = _Reading(engine, flight, start, stop)
    at = start
    try:
        while at < stop and not flight.task.done() and shard.digest not in flights.restarted:
            news.clear()
            if (upto := await reading.ready(at)) > at:
                upto = min(upto, at + MOST)
                yield Span(reading.fd, at, upto)
                at = upto
            elif not flight.task.done():
                await news.wait()
        if at == stop and stop < shard.size:
            return
        await _landing(flight)
        reading.check(at)
        if at < stop:
            async with aclosing(_stored(engine, flight, at, stop)) as spans:
                async for span in spans:
                    yield span
    except _Restarted:
        flights.restarted.add(shard.digest)
        await asyncio.wait({flight.task}, timeout=SETTLED)
        raise IntegrityError(
            f"Pieces of {shard.digest} were wrong and are fetched again.", remedy="Ask again."
        ) from None
    finally:
        stop_watching()
        flight.task.remove_done_callback(landed)
        reading.close()


async def _landing(flight: Flight) -> None:
    """Return when the shard is in the store. Raises what its fetch met."""
    try:
        await asyncio.shield(flight.task)
    except asyncio.CancelledError:
        if not flight.task.cancelled():
            raise  # this reader is
        raise Cancelled("The agent is stopping.", remedy="Ask again.") from None
    except OSError as error:
        raise StorageError(f"{flight.shard.digest}: {error}.") from error


async def _stored(engine: Engine, flight: Flight, start: int, stop: int) -> AsyncGenerator[Span, None]:
    """Of a shard that is in the store."""
    path = await asyncio.to_thread(engine.store.path, flight.shard.digest)
    try:
        fd = os.open(path, os.O_RDONLY) if path else None
    except FileNotFoundError:
        fd = None
    if fd is None:  # as a damaged one, since the flight has a lease
        raise StorageError(f"{flight.shard.digest} has just been removed from the store.", remedy="Ask again.")
    try:
        yield Span(fd, start, stop)
    finally:
        os.close(fd)


class _Restarted(Exception):
    """Pieces that were sent are not verified any more."""


class _Reading:
    """How far one reader can go in a shard that is on its way."""

    def __init__(self, engine: Engine, flight: Flight, start: int, stop: int) -> None:
        self._engine = engine
        self._shard = flight.shard
        self._whole = flight.at[2] is None
        self._start = start
        self._stop = stop
        self._opened: OpenedShard | None = None
        self._fetch: ShardFetch | None = None
        self._starts = 0

    @property
    def fd(self) -> int:
        assert self._opened is not None
        return self._opened.fd

    async def ready(self, at: int) -> int:
        """The offset before which all from `at` on may be sent."""
        fetch = self._engine.node.fetches.get(self._shard.digest)
        if fetch is not None and fetch is not self._fetch:
            self._fetch, self._starts = fetch, fetch.starts
        if self._opened is None:
            self._opened = await asyncio.to_thread(self._engine.store.directory().open, self._shard.digest)
            if self._opened is None:
                return at
        layout, have = self._opened.cut()
        self.check(at)
        # Of some bytes alone nothing is proven, and a pull that proves its own may have what was sent read again.
        if self._whole and at > self._start and layout.touching(((self._start, at),)) - have:
            raise _Restarted
        upto = min(layout.run_end(have, at), self._stop)
        if self._stop == self._shard.size:
            upto = min(upto, layout.offset(layout.count - 1))
        if upto <= at:
            self._engine.node.wishes.want(self, (Wish(self._shard.digest, at, self._stop),))
        return max(at, upto)

    def check(self, at: int) -> None:
        """Raises _Restarted when some of what was sent was taken back."""
        if at > self._start and self._fetch is not None and self._fetch.starts != self._starts:
            raise _Restarted

    def close(self) -> None:
        self._engine.node.wishes.forget(self)
        if self._opened is not None:
            self._opened.close()


class ShardResponse(Response):
    """The answer to a GET. The first bytes are there before it says 200: what goes wrong until then is an error of its
    own; later the answer breaks off, which every client notices by its length."""

    def __init__(
        self,
        engine: Engine,
        flights: Flights,
        join: Callable[[], AbstractContextManager[Flight]],
        span: tuple[int, int],
        status: int,
        headers: Mapping[str, str],
        failed: Callable[[ModeldistError], Response],
    ) -> None:
        super().__init__(None, status, dict(headers))
        self.headers["Content-Length"] = str(span[1] - span[0])
        self._engine = engine
        self._flights = flights
        self._join = join
        self._span = span
        self._failed = failed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await while_heard(self._send(scope, receive, send), receive)

    async def _send(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = late = False
        files: FileConnection = scope["state"][FILES]
        start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        try:
            with self._join() as flight:
                late = flight.joins > 1
                async with aclosing(shard_spans(self._engine, self._flights, flight, *self._span)) as spans:
                    async for span in spans:
                        if not begun:
                            await send(start)
                            begun = True
                        await files.send_file(*span)
                if not begun:
                    await send(start)
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except ConnectionError:
            pass  # nobody listens any more
        except EOFError:
            log.error("a shard is shorter in the store than it should be", path=scope["path"])
        except ModeldistError as error:
            if late and not begun and isinstance(error, IntegrityError):
                await self._send(scope, receive, send)  # what was wrong was read before they asked
                return
            log.warning("a download through the gateway failed", path=scope["path"], error=str(error))
            if not begun:
                await self._failed(error)(scope, receive, send)
