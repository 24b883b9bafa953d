"""How fast another node sends to this one: the link shard, fetched from it again and again for a moment."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from contextlib import suppress

from modeldist.agent.node import Node
from modeldist.artifact import Digest
from modeldist.logger import Logger
from modeldist.scheduler.messages import Measure, Measured
from modeldist.scheduler.pieces import PieceSet
from modeldist.transfer.base import Into, Outcome, PeerConnection, Received, Transport
from modeldist.transfer.link_shard import LINK_BYTES, LINK_PIECE, LINK_SHARD

log = Logger(__name__)

MOST_BYTES = 32 << 20  # at 1 Gbit/s and more it ends before its time
_SECONDS = 0.25
_PIECES = 4  # so many at least, and so many asked for at a time
_WITHIN = 1.5  # seconds for all of it, from the subscription on


class LinkRates:
    """Answers Measure, one at a time, and not while this node fetches. `transport` may be another than that of pieces:
    what is measured is the network."""

    def __init__(self, node: Node, transport: Transport, clock: Callable[[], float]) -> None:
        self._node = node
        self._transport = transport
        self._clock = clock
        self._measuring = False

    def measure(self, message: Measure) -> None:
        if self._measuring or self._node.fetches:
            self._node.tell(Measured(message.number))
            return
        self._measuring = True
        self._node.loop.spawn(self._answer(message), f"measure the link from {message.node}")

    async def _answer(self, message: Measure) -> None:
        rate: float | None = None
        try:
            rate = await self._rate(message)
        except (OSError, ValueError) as error:  # the latter where an address is none
            log.info("a link cannot be measured", parent=message.node, error=str(error))
        finally:
            self._measuring = False
            self._node.tell(Measured(message.number, rate))

    async def _rate(self, message: Measure) -> float | None:
        """In bytes/s, and not more than this node may download. Raises OSError."""
        limit = self._node.config.download_rate
        if limit is not None and limit * _SECONDS < LINK_BYTES:
            return limit  # what it takes to see more than that is more than this node may have
        most = MOST_BYTES if limit is None else min(MOST_BYTES, int(limit * _SECONDS))
        run = _Run(self._clock, most, lambda: bool(self._node.fetches))
        connection: PeerConnection | None = None
        try:
            connection = await self._transport.connect(
                message.address,
                child=self._node.store.node_id,
                parent=message.node,
                on_have=run.on_have,
                on_closed=run.on_closed,
            )
            rate = await run.result(connection, message.capability, _WITHIN)
        finally:
            run.stop()
            if connection is not None:
                connection.close()
        return rate if rate is None or limit is None else min(rate, limit)


class _Run:
    """Of one connection; its callbacks come from the thread that reads it. It has the file until nothing is written to
    that any more. `unwanted`: this node has better things to do now."""

    def __init__(self, clock: Callable[[], float], most: int, unwanted: Callable[[], bool]) -> None:
        self._clock = clock
        self._most = most
        self._unwanted = unwanted
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self._lock = threading.Lock()
        self._connection: PeerConnection | None = None
        self._fd = os.memfd_create("modeldist link")
        self._began: float | None = None
        self._out = 0  # pieces asked for and not come
        self._over = False
        self._came: list[float] = []  # when each piece did

    async def result(self, connection: PeerConnection, capability: bytes, within: float) -> float | None:
        """In bytes/s. None: the other node did not serve it, or this one wants no more of it."""
        self._connection = connection
        connection.subscribe(LINK_SHARD, capability)
        try:
            async with asyncio.timeout(within):
                await self._ended.wait()
        except TimeoutError:
            pass
        if self._began is None or self._unwanted():
            return None
        if self._ended.is_set():
            return self._rate()
        return max(1, len(self._came)) * LINK_PIECE / (self._clock() - self._began)  # it stalls: at most so much

    def stop(self) -> None:
        """What is out may still come."""
        with self._lock:
            self._over = True
            self._end_if_over()

    def _rate(self) -> float | None:
        """Of what came after the first quarter: buckets are full at first, and windows small."""
        came = self._came[len(self._came) // 4 :]
        if len(came) < _PIECES // 2 or came[-1] <= came[0]:
            return None
        return (len(came) - 1) * LINK_PIECE / (came[-1] - came[0])

    def on_have(self, shard: Digest, pieces: PieceSet) -> None:
        with self._lock:
            if self._over or self._began is not None:
                return
            if not pieces:
                self._over = True
                self._end_if_over()
                return
            self._began = self._clock()
            self._out = _PIECES
        for _ in range(_PIECES):
            self._fetch()

    def on_closed(self, reason: str) -> None:
        self.stop()

    def _fetch(self) -> None:
        assert self._connection is not None
        self._connection.fetch(LINK_SHARD, 0, LINK_PIECE, Into(self._fd, 0), self._on_outcome)

    def _on_outcome(self, outcome: Outcome) -> None:
        with self._lock:
            if isinstance(outcome, Received) and not self._over:
                self._came.append(self._clock())
            self._over = self._over or not isinstance(outcome, Received) or self._enough()
            if self._over:
                self._out -= 1
                self._end_if_over()
                return
        self._fetch()

    def _enough(self) -> bool:
        if len(self._came) * LINK_PIECE >= self._most or self._unwanted():
            return True
        assert self._began is not None
        return len(self._came) >= _PIECES and self._came[-1] - self._began >= _SECONDS

    def _end_if_over(self) -> None:
        """Once nothing is written to the file any more."""
        if self._over and not self._out and self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            with suppress(RuntimeError):  # the agent has ended
                self._loop.call_soon_threadsafe(self._ended.set)
