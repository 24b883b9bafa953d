"""The TCP transport behaves like a transport, and leaves nothing behind."""

from __future__ import annotations

import hashlib
import math
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

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


async def test_a_fast_parents_bytes_are_hashed_by_others(tmp_path: Path) -> None:
    """The clock says how fast it was: 64 MiB in a quarter of a second, later 1 MiB in a whole one."""
    shelf, now = Shelf(tmp_path / "shelf"), 100.0
    content = os.urandom(1 << 20) * 64
    shard = shelf.add(content, 1 << 20)
    server = TcpPieceServer(shelf, host="127.0.0.1", check=good_capability, node="parent")
    child = Child(tmp_path / "target")
    child.hashing = True
    await child.connect(TcpTransport(hash_below=200e6, clock=lambda: now), server.address)
    await child.subscribe(shard)

    async def hashed(length: int) -> bool:
        number = child.ask(shard, 0, length)
        await until(lambda: child.outcomes[number])
        outcome, along = child.outcomes[number][0], child.hashes[number]
        assert isinstance(outcome, Received)
        assert along is not None
        assert not outcome.hashed or along.digest() == hashlib.sha256(content[:length]).digest()
        return outcome.hashed

    assert await hashed(len(content)), "nothing is known of its speed yet"
    now += 0.25
    assert await hashed(1 << 20)
    assert not await hashed(1 << 20)
    now += 1.0
    assert not await hashed(1 << 20)
    assert await hashed(1 << 20)
    assert child.target.read_bytes() == content
    child.close()
    server.close()
    child.release()


async def test_without_a_limit_all_is_hashed_by_who_receives_it(tmp_path: Path) -> None:
    shelf, now = Shelf(tmp_path / "shelf"), 100.0
    content = os.urandom(1 << 20) * 64
    shard = shelf.add(content, 1 << 20)
    server = TcpPieceServer(shelf, host="127.0.0.1", check=good_capability, node="parent")
    child = Child(tmp_path / "target")
    child.hashing = True
    await child.connect(TcpTransport(hash_below=math.inf, clock=lambda: now), server.address)
    await child.subscribe(shard)
    for _ in range(3):
        number = child.ask(shard, 0, len(content))
        await until(lambda: child.outcomes[number])  # noqa: B023
        outcome, along = child.outcomes[number][0], child.hashes[number]
        assert isinstance(outcome, Received) and outcome.hashed
        assert along is not None and along.digest() == hashlib.sha256(content).digest()
        now += 0.25
    child.close()
    server.close()
    child.release()
