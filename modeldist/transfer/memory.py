"""The transport's in-memory double: same interface, same conformance suite, no sockets and no threads.

Everything happens in callbacks of the event loop that called `connect`, one block at a time, so a test that drives an
engine with it is deterministic. Shards and files are real descriptors; only the wire is missing.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from modeldist.artifact import Digest
from modeldist.scheduler.pieces import PieceSet
from modeldist.transfer import base
from modeldist.transfer.rate_limit import RateLimit
from modeldist.transfer.served_account import ServedAccount
from modeldist.transfer.served_shard import ServedShard


class MemoryNetwork:
    """Where servers and transports of one test find each other."""

    def __init__(self) -> None:
        self._servers: dict[str, MemoryPieceServer] = {}
        self._numbers = itertools.count(1)

    def add(self, server: MemoryPieceServer) -> str:
        """Its address."""
        address = f"memory:{next(self._numbers)}"
        self._servers[address] = server
        return address

    def remove(self, address: str) -> None:
        self._servers.pop(address, None)

    def find(self, address: str) -> MemoryPieceServer:
        """Raises OSError when nobody listens there."""
        server = self._servers.get(address)
        if server is None:
            raise OSError(f"The parent at {address} cannot be reached: Connection refused.")
        return server


class MemoryPieceServer:
    """A PieceServer that MemoryTransports of the same network can reach."""

    def __init__(
        self,
        directory: base.ShardDirectory,
        *,
        network: MemoryNetwork,
        check: base.CheckCapability,
        limits: base.ServerLimits = base.ServerLimits(),  # noqa: B008 - frozen
        node: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.directory = directory
        self.check = check
        self.limits = limits
        self.node = node
        self.clock = clock
        self.account = ServedAccount(limits.requests_in_service, clock)
        self.rate = RateLimit(limits.upload_rate, clock)
        self.connections: set[MemoryConnection] = set()
        self._network = network
        self._address = network.add(self)

    @property
    def address(self) -> str:
        return self._address

    def load(self) -> base.ServedLoad:
        return self.account.load()

    def close(self) -> None:
        self._network.remove(self._address)
        for connection in list(self.connections):
            connection.lose(f"The parent at {self._address} ended the connection: This parent is shutting down.")


class MemoryTransport:
    """Connects to the servers of `network`."""

    def __init__(self, network: MemoryNetwork) -> None:
        self._network = network

    async def connect(
        self, address: str, *, child: str, on_have: base.OnHave, on_closed: base.OnClosed, parent: str = ""
    ) -> MemoryConnection:
        """Raises OSError with a sentence when nobody listens at `address` or it takes no more connections."""
        await asyncio.sleep(0)
        server = self._network.find(address)
        if len(server.connections) >= server.limits.connections:
            raise OSError(f"The parent at {address} refused the connection: it takes no more now.")
        return MemoryConnection(server, child, on_have, on_closed)


@dataclass
class _Fetch:
    shard: Digest
    start: int
    length: int
    into: base.Into
    on_outcome: base.OnOutcome
    asked_at: float
    done: int = 0

    @property
    def left(self) -> int:
        return self.length - self.done


class MemoryConnection:
    """Both ends of one connection. Public methods may be called from any thread; the rest runs in the loop."""

    transport = "memory"

    def __init__(self, server: MemoryPieceServer, child: str, on_have: base.OnHave, on_closed: base.OnClosed) -> None:
        self._server = server
        self._child = child
        self._on_have = on_have
        self._on_closed = on_closed
        self._loop = asyncio.get_running_loop()
        self._shards: dict[Digest, ServedShard] = {}
        self._queue: deque[_Fetch] = deque()
        self._serving = False
        self._ended: str | None = None
        server.connections.add(self)

    @property
    def thread(self) -> int | None:
        return None

    def subscribe(self, shard: Digest, capability: bytes) -> None:
        self._soon(lambda: self._subscribe(shard, capability))

    def unsubscribe(self, shard: Digest) -> None:
        self._soon(lambda: self._unsubscribe(shard))

    def fetch(self, shard: Digest, start: int, length: int, into: base.Into, on_outcome: base.OnOutcome) -> None:
        fetch = _Fetch(shard, start, length, into, on_outcome, self._server.clock())
        self._soon(lambda: self._ask(fetch))

    def close(self) -> None:
        self._soon(lambda: self._end("The connection was closed.", tell=False))

    def lose(self, reason: str) -> None:
        """The parent went away."""
        self._soon(lambda: self._end(reason, tell=True))

    def _soon(self, step: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            self._loop.call_soon_threadsafe(step)

    # --- in the loop ---

    def _subscribe(self, shard: Digest, capability: bytes) -> None:
        if self._ended is not None:
            return
        served = self._shards.setdefault(
            shard,
            ServedShard(
                shard,
                self._child,
                directory=self._server.directory,
                check=self._server.check,
                on_news=lambda _: self._soon(self._push),
            ),
        )
        served.renew(capability)
        have = served.start(self._server.clock()) if served.allowed else PieceSet()
        self._on_have(shard, have)

    def _unsubscribe(self, shard: Digest) -> None:
        served = self._shards.pop(shard, None)
        if served:
            served.close()

    def _push(self) -> None:
        """Send the news that are due; come back for those that are not."""
        now = self._server.clock()
        for shard, served in list(self._shards.items()):
            due = served.news_due
            if due is not None and due <= now:
                self._on_have(shard, served.take_news(now))
            elif due is not None:
                self._loop.call_later(due - now, self._push)

    def _ask(self, fetch: _Fetch) -> None:
        if self._ended is not None:
            fetch.on_outcome(base.Lost(self._ended))
        elif self._server.account.admit(fetch.length, waiting=len(self._queue)):
            self._queue.append(fetch)
            self._serve()
        else:
            fetch.on_outcome(base.Busy(self._server.account.retry_after()))

    def _serve(self) -> None:
        """Begin with the next block, unless one is under way."""
        if self._queue and not self._serving:
            self._serving = True
            block = min(self._queue[0].left, self._server.rate.block)
            self._loop.call_later(self._server.rate.reserve(block), self._send, block)

    def _send(self, block: int) -> None:
        self._serving = False
        if self._ended is not None:
            return
        fetch = self._queue[0]
        served = self._shards.get(fetch.shard)
        opened = served.readable(fetch.start, fetch.length) if served else "Not subscribed to this shard."
        if isinstance(opened, str):
            self._settle(base.Refused(opened))
            return
        data, into = os.pread(opened.fd, block, fetch.start + fetch.done), fetch.into
        try:
            os.pwrite(into.fd, data, into.offset + fetch.done)
            if into.hash is not None:
                into.hash.update(memoryview(data))
        except OSError as error:
            self._settle(base.NotWritten(error))
            return
        fetch.done += len(data)
        self._server.account.sent(len(data))
        if fetch.left:
            self._serve()
        else:
            self._settle(base.Received(fetch.length, self._server.clock() - fetch.asked_at, into.hash is not None))

    def _settle(self, outcome: base.Outcome) -> None:
        fetch = self._queue.popleft()
        self._server.account.finished(fetch.left)
        fetch.on_outcome(outcome)
        self._serve()

    def _end(self, reason: str, *, tell: bool) -> None:
        if self._ended is not None:
            return
        self._ended = reason
        self._server.connections.discard(self)
        for served in self._shards.values():
            served.close()
        self._shards.clear()
        fetches, self._queue = list(self._queue), deque()
        for fetch in fetches:
            self._server.account.finished(fetch.left)
            fetch.on_outcome(base.Lost(reason))
        if tell:
            self._on_closed(reason)
