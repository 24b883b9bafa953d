"""A parent whose store or capability check fails refuses, and goes on serving."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from modeldist.artifact import Digest
from modeldist.scheduler.pieces import PieceSet
from modeldist.transfer.base import Received, Refused
from modeldist.transfer.tcp import TcpPieceServer, TcpTransport
from tests.unit.transfer.shelf import GOOD, Child, Shelf, ShelfShard


class MoodyShelf(Shelf):
    """Fails when told to."""

    failing = False

    def open(self, shard: Digest) -> ShelfShard | None:
        if self.failing:
            raise RuntimeError("the store is broken")
        return super().open(shard)


class MoodyCheck:
    failing = False

    def __call__(self, capability: bytes, _child: str, _shard: Digest) -> bool:
        if self.failing:
            raise RuntimeError("the check is broken")
        return capability == GOOD


@pytest.fixture
def shelf(tmp_path: Path) -> MoodyShelf:
    return MoodyShelf(tmp_path / "shelf")


@pytest.fixture
def check() -> MoodyCheck:
    return MoodyCheck()


@pytest.fixture
async def child(shelf: MoodyShelf, check: MoodyCheck, tmp_path: Path) -> AsyncIterator[Child]:
    server = TcpPieceServer(shelf, host="127.0.0.1", check=check, node="parent")
    child = Child(tmp_path / "target")
    await child.connect(TcpTransport(), server.address)
    yield child
    child.close()
    server.close()
    child.release()


async def test_a_store_that_fails_refuses_until_it_works_again(shelf: MoodyShelf, child: Child) -> None:
    shard = shelf.add(b"x" * 4096, 1024)
    shelf.failing = True
    await child.subscribe(shard)
    assert child.told(shard) == PieceSet()
    refused = await child.fetch(shard, 0, 1024)
    assert isinstance(refused, Refused)
    assert "cannot read" in refused.reason
    shelf.failing = False
    assert isinstance(await child.fetch(shard, 0, 1024), Received)


async def test_a_check_that_fails_allows_nothing(shelf: MoodyShelf, check: MoodyCheck, child: Child) -> None:
    shard = shelf.add(b"x" * 4096, 1024)
    await child.subscribe(shard)
    assert isinstance(await child.fetch(shard, 0, 1024), Received)
    check.failing = True
    assert isinstance(await child.fetch(shard, 0, 1024), Refused)


async def test_news_are_not_told_to_a_child_whose_capability_ended(
    shelf: MoodyShelf, check: MoodyCheck, child: Child
) -> None:
    shard = shelf.add(b"x" * 4096, 1024, PieceSet.of([0]))
    other = shelf.add(b"y" * 4096, 1024, PieceSet.of([0]))
    await child.subscribe(shard)
    check.failing = True
    shelf.verify(shard, PieceSet.of([1]))
    assert isinstance(await child.fetch(shard, 0, 1024), Refused)
    check.failing = False
    await child.subscribe(other)
    assert child.told(shard) in (PieceSet.of([0]), PieceSet.of([0, 1])), "only what was due before the renewal"
    await child.subscribe(shard)
    assert child.told(shard) == PieceSet.of([0, 1])
