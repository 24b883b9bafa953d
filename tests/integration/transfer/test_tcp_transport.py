"""The TCP transport behaves like a transport, and leaves nothing behind."""

from __future__ import annotations

import hashlib
import math
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from modeldist.artifact import Digest
from modeldist.transfer.base import CheckCapability, Received, ServerLimits
from modeldist.transfer.tcp import TcpPieceServer, TcpTransport
from tests.unit.transfer.shelf import Child, Shelf, good_capability, until
from tests.unit.transfer.transport_conformance import TransportConformance, World


def _threads() -> set[str]:
    names = ("serve", "fetch", "piece", "have-updates")
    return {thread.name for thread in threading.enumerate() if thread.name.startswith(names)}


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


class TestTcpTransport(TransportConformance):
    @pytest.fixture
    async def world(self, tmp_path: Path) -> AsyncIterator[World]:
        def serve(shelf: Shelf, check: CheckCapability, limits: ServerLimits) -> TcpPieceServer:
            return TcpPieceServer(shelf, host="127.0.0.1", check=check, limits=limits, node="parent")

        before = _descriptors()
        world = World(tmp_path, serve, TcpTransport())
        yield world
        await world.end()
        await until(lambda: not _threads())
        await until(lambda: _descriptors() <= before)


CONTENT = os.urandom(1 << 20) * 64


@dataclass
class Hashing:
    """A child that hashes along, one parent, and a clock that says how fast that is."""

    child: Child
    shard: Digest
    now: float = 100.0

    async def hashed(self, length: int) -> bool:
        """Whether the thread that received so many bytes hashed them."""
        number = self.child.ask(self.shard, 0, length)
        await until(lambda: self.child.outcomes[number])
        outcome, along = self.child.outcomes[number][0], self.child.hashes[number]
        assert isinstance(outcome, Received)
        assert along is not None
        assert not outcome.hashed or along.digest() == hashlib.sha256(CONTENT[:length]).digest()
        return outcome.hashed


@asynccontextmanager
async def hashing(tmp_path: Path, below: float) -> AsyncIterator[Hashing]:
    """`below`: bytes/s up to which the thread that receives also hashes."""
    shelf, child = Shelf(tmp_path / "shelf"), Child(tmp_path / "target")
    world = Hashing(child, shelf.add(CONTENT, 1 << 20))
    server = TcpPieceServer(shelf, host="127.0.0.1", check=good_capability, node="parent")
    child.hashing = True
    await child.connect(TcpTransport(hash_below=below, clock=lambda: world.now), server.address)
    await child.subscribe(world.shard)
    yield world
    child.close()
    server.close()
    child.release()


async def test_a_fast_parents_bytes_are_hashed_by_others(tmp_path: Path) -> None:
    """The clock says how fast it was: 64 MiB in a quarter of a second, later 1 MiB in a whole one."""
    async with hashing(tmp_path, 200e6) as world:
        assert await world.hashed(len(CONTENT)), "nothing is known of its speed yet"
        world.now += 0.25
        assert await world.hashed(1 << 20)
        assert not await world.hashed(1 << 20)
        world.now += 1.0
        assert not await world.hashed(1 << 20)
        assert await world.hashed(1 << 20)
        assert world.child.target.read_bytes() == CONTENT


async def test_without_a_limit_all_is_hashed_by_who_receives_it(tmp_path: Path) -> None:
    async with hashing(tmp_path, math.inf) as world:
        for _ in range(3):
            assert await world.hashed(len(CONTENT))
            world.now += 0.25
