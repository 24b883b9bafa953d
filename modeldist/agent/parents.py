"""Connections to parents, one per node, shared by all shards. Loop thread only; transports call back through `post`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from modeldist.artifact import Digest
from modeldist.scheduler.phase2.messages import Event, ParentConnected, ParentHas, ParentLost
from modeldist.scheduler.pieces import PieceSet
from modeldist.transfer.base import Into, OnOutcome, PeerConnection, Transport

REMEMBERED = 4096  # nodes whose addresses are kept, for who asks later from whom something came

Post = Callable[[Callable[[], None]], None]
"""Run a function on the loop thread, from any thread."""


@dataclass(eq=False)
class _Link:
    node: str
    connection: PeerConnection | None = None
    connecting: asyncio.Task[None] | None = None
    subscribed: set[Digest] = field(default_factory=set)


class Parents:
    """Opens, uses and closes connections as phase 2 says; turns what they say into phase 2's events."""

    def __init__(self, transport: Transport, child: str, post: Post, apply: Callable[[Event], None]) -> None:
        self._transport = transport
        self._child = child
        self._post = post
        self._apply = apply
        self._links: dict[str, _Link] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._addresses: dict[str, str] = {}  # the newest last

    def address_of(self, node: str) -> str:
        """Where it was when it was connected last; empty where that is not known any more."""
        return self._addresses.get(node, "")

    def connect(self, node: str, address: str) -> None:
        if node in self._links:
            return
        self._addresses.pop(node, None)
        self._addresses[node] = address
        if len(self._addresses) > REMEMBERED:
            del self._addresses[next(iter(self._addresses))]
        link = _Link(node)
        self._links[node] = link
        link.connecting = asyncio.create_task(self._open(link, address), name=f"connect {address}")

    async def _open(self, link: _Link, address: str) -> None:
        def on_have(shard: Digest, pieces: PieceSet) -> None:
            self._post(lambda: self._has(link, shard, pieces))

        def on_closed(reason: str) -> None:
            self._post(lambda: self._lost(link, reason))

        try:
            connection = await self._transport.connect(
                address, child=self._child, on_have=on_have, on_closed=on_closed, parent=link.node
            )
        except OSError as error:
            self._lost(link, str(error) or type(error).__name__)
            return
        if self._links.get(link.node) is not link:
            await asyncio.to_thread(connection.close)
            return
        link.connection = connection
        self._apply(ParentConnected(link.node))

    def _has(self, link: _Link, shard: Digest, pieces: PieceSet) -> None:
        if self._links.get(link.node) is link and shard in link.subscribed:
            self._apply(ParentHas(shard, link.node, pieces))

    def _lost(self, link: _Link, reason: str) -> None:
        if self._links.get(link.node) is link:
            del self._links[link.node]
            self._apply(ParentLost(link.node, reason))
            self._close_later(link)

    def subscribe(self, node: str, shard: Digest, capability: bytes) -> None:
        if (link := self._links.get(node)) and link.connection:
            link.subscribed.add(shard)
            link.connection.subscribe(shard, capability)

    def renew(self, shard: Digest, capability: bytes) -> None:
        """Show the new one wherever the old one was shown."""
        for node in [link.node for link in self._links.values() if shard in link.subscribed]:
            self.subscribe(node, shard, capability)

    def unsubscribe(self, node: str, shard: Digest) -> None:
        if (link := self._links.get(node)) and link.connection and shard in link.subscribed:
            link.subscribed.discard(shard)
            link.connection.unsubscribe(shard)

    def fetch(self, node: str, shard: Digest, start: int, length: int, into: Into, on_outcome: OnOutcome) -> bool:
        """False when there is no such connection (any more): its ParentLost is on the way."""
        link = self._links.get(node)
        if link is None or link.connection is None:
            return False
        link.connection.fetch(shard, start, length, into, on_outcome)
        return True

    def thread_of(self, node: str) -> int | None:
        """That reads what this parent sends."""
        link = self._links.get(node)
        return link.connection.thread if link and link.connection else None

    def disconnect(self, node: str) -> None:
        """Phase 2 has no use for it; not answered."""
        if link := self._links.pop(node, None):
            self._close_later(link)

    async def abort(self, node: str, reason: str) -> None:
        """Cut the connection now, so that nothing it was sending is written any more."""
        if link := self._links.pop(node, None):
            await self._close(link)
            self._apply(ParentLost(node, reason))

    def _close_later(self, link: _Link) -> None:
        task = asyncio.create_task(self._close(link))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _close(self, link: _Link) -> None:
        if link.connecting and not link.connecting.done() and link.connecting is not asyncio.current_task():
            link.connecting.cancel()
            await asyncio.gather(link.connecting, return_exceptions=True)
        if link.connection:
            await asyncio.to_thread(link.connection.close)

    async def close(self) -> None:
        links, self._links = list(self._links.values()), {}
        await asyncio.gather(*(self._close(link) for link in links), *self._closing, return_exceptions=True)
