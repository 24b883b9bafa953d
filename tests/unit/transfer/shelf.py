"""What the transport tests serve from and fetch into: a ShardDirectory over real files, and a child that remembers."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from modeldist.artifact import Digest
from modeldist.scheduler.pieces import PieceLayout, PieceSet
from modeldist.transfer.base import Hash, Into, Lost, OnVerified, Outcome, PeerConnection, Received, Transport

GOOD = b"a capability"


def good_capability(capability: bytes, _child: str, _shard: Digest) -> bool:
    return capability == GOOD


async def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Poll; a test that waits in vain fails."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.002)


class ShelfShard:
    """An OpenShard on a descriptor of its own."""

    def __init__(self, shelf: Shelf, shard: Digest) -> None:
        self._shelf = shelf
        self._shard = shard
        self.layout = shelf.layouts[shard]
        self.fd = os.open(shelf.path(shard), os.O_RDONLY | os.O_CLOEXEC)

    def have(self) -> PieceSet:
        return self._shelf.verified[self._shard]

    def close(self) -> None:
        os.close(self.fd)
        self._shelf.open_now -= 1


class Shelf:
    """A directory of shards whose verified pieces the test decides."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)
        self.layouts: dict[Digest, PieceLayout] = {}
        self.verified: dict[Digest, PieceSet] = {}
        self.contents: dict[Digest, bytes] = {}
        self.open_now = 0
        self.watchers: list[tuple[Digest, Callable[[PieceSet], None]]] = []
        self._lock = threading.Lock()

    def path(self, shard: Digest) -> Path:
        return self._folder / shard.partition(":")[2]

    def add(self, content: bytes, piece_size: int, have: PieceSet | None = None) -> Digest:
        shard = Digest("sha256:" + hashlib.sha256(content).hexdigest())
        self.path(shard).write_bytes(content)
        self.layouts[shard] = PieceLayout(len(content), piece_size)
        self.verified[shard] = self.layouts[shard].all if have is None else have
        self.contents[shard] = content
        return shard

    def verify(self, shard: Digest, pieces: PieceSet, *, awaited: bool = True) -> None:
        """These pieces become verified now."""
        self.verified[shard] |= pieces
        with self._lock:
            told = [on_have for watched, on_have in self.watchers if watched == shard]
        for on_have in told:
            on_have(pieces, awaited)

    def open(self, shard: Digest) -> ShelfShard | None:
        if shard not in self.layouts:
            return None
        with self._lock:
            self.open_now += 1
        return ShelfShard(self, shard)

    def watch(self, shard: Digest, on_have: OnVerified) -> Callable[[], None]:
        entry = (shard, on_have)
        with self._lock:
            self.watchers.append(entry)

        def stop() -> None:
            with self._lock:
                self.watchers.remove(entry)

        return stop


class Child:
    """One connection to a parent and everything it was told. `target` is the file fetched into. `hashing`: fetches have
    a hash along, found in `hashes` by their number."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.hashing = False
        self.hashes: dict[int, Hash | None] = {}
        self.fd = os.open(target, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        self.haves: list[tuple[Digest, PieceSet]] = []
        self.closed: list[str] = []
        self.outcomes: dict[int, list[Outcome]] = {}
        self.order: list[int] = []
        self.connection: PeerConnection

    async def connect(self, transport: Transport, address: str, name: str = "child", parent: str = "parent") -> Child:
        self.connection = await transport.connect(
            address,
            child=name,
            on_have=lambda s, p: self.haves.append((s, p)),
            on_closed=self.closed.append,
            parent=parent,
        )
        return self

    async def subscribe(self, shard: Digest, capability: bytes = GOOD) -> None:
        told = len(self.haves)
        self.connection.subscribe(shard, capability)
        await until(lambda: len(self.haves) > told)

    def ask(self, shard: Digest, start: int, length: int, offset: int | None = None) -> int:
        """The number under which the outcome will be found."""
        number = len(self.outcomes)
        self.outcomes[number] = []

        def settle(outcome: Outcome) -> None:
            self.outcomes[number].append(outcome)
            self.order.append(number)

        along = self.hashes[number] = hashlib.sha256() if self.hashing else None
        into = Into(self.fd, start if offset is None else offset, along)
        self.connection.fetch(shard, start, length, into, settle)
        return number

    async def fetch(self, shard: Digest, start: int, length: int, offset: int | None = None) -> Outcome:
        number = self.ask(shard, start, length, offset)
        await until(lambda: self.outcomes[number])
        return self.outcomes[number][0]

    async def all_settled(self) -> None:
        await until(lambda: all(self.outcomes.values()))

    @property
    def received(self) -> list[Received]:
        return [found[0] for found in self.outcomes.values() if found and isinstance(found[0], Received)]

    @property
    def lost(self) -> list[Lost]:
        return [found[0] for found in self.outcomes.values() if found and isinstance(found[0], Lost)]

    def told(self, shard: Digest) -> PieceSet:
        """Everything it was told the parent holds."""
        pieces = PieceSet()
        for about, news in self.haves:
            if about == shard:
                pieces |= news
        return pieces

    def close(self) -> None:
        self.connection.close()

    def release(self) -> None:
        os.close(self.fd)


Connect = Callable[..., Awaitable[Child]]
