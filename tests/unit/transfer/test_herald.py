"""Have-updates go out in rounds: at once where others wait for a piece, with the next round or at leisure elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from modeldist.artifact import Digest
from modeldist.scheduler.pieces import PieceSet
from modeldist.transfer.base import OnVerified, OpenShard
from modeldist.transfer.tcp.herald import Herald

SHARD = Digest("sha256:" + 64 * "0")
OTHER = Digest("sha256:" + 64 * "1")


class Watchable:
    """A directory in which pieces become verified as the test says."""

    def __init__(self) -> None:
        self.watchers: list[tuple[Digest, OnVerified]] = []

    def open(self, shard: Digest) -> OpenShard | None:
        return None

    def watch(self, shard: Digest, on_have: OnVerified) -> Callable[[], None]:
        self.watchers.append((shard, on_have))
        return lambda: self.watchers.remove((shard, on_have))

    def verified(self, shard: Digest, *pieces: int, awaited: bool) -> None:
        for watched, on_have in self.watchers:
            if watched == shard:
                on_have(PieceSet.of(pieces), awaited)


class Child:
    """Watches `shards`; `told` holds what was new to it in each round."""

    def __init__(self, herald: Herald, *shards: Digest) -> None:
        self._news = PieceSet()
        self._told: list[PieceSet] = []
        self._more = threading.Semaphore(0)
        self._herald = herald
        self.leave = [herald.watch(shard, self._heard) for shard in shards]

    def _heard(self, pieces: PieceSet, awaited: bool) -> None:
        self._news |= pieces
        self._herald.has_news(self)

    def tell_news(self) -> None:
        self._told.append(self._news)
        self._news = PieceSet()
        self._more.release()

    def next_round(self) -> PieceSet:
        assert self._more.acquire(timeout=10), "it was not told"
        return self._told.pop(0)


@contextmanager
def speaking(leisure: float) -> Iterator[tuple[Herald, Watchable]]:
    directory = Watchable()
    made = Herald(directory, interval=0.001, leisure=leisure)
    try:
        yield made, directory
    finally:
        made.close()


def test_news_that_nobody_waits_for_are_told_after_a_while() -> None:
    with speaking(leisure=0.001) as (herald, directory):
        child = Child(herald, SHARD)
        for piece in range(3):
            directory.verified(SHARD, piece, awaited=False)
            assert child.next_round() == PieceSet.of((piece,))


def test_news_that_nobody_waits_for_go_along_with_those_that_are_awaited() -> None:
    with speaking(leisure=3600) as (herald, directory):
        patient, waiting = Child(herald, SHARD), Child(herald, OTHER)
        for piece in range(3):
            directory.verified(SHARD, piece, 10, awaited=False)
            directory.verified(OTHER, piece, awaited=True)
            assert patient.next_round() == PieceSet.of((piece, 10))
            assert waiting.next_round() == PieceSet.of((piece,))


def test_all_children_of_a_shard_are_told_from_one_watch_of_it() -> None:
    with speaking(leisure=3600) as (herald, directory):
        children = [Child(herald, SHARD) for _ in range(3)]
        assert len(directory.watchers) == 1
        directory.verified(SHARD, 7, awaited=True)
        assert [child.next_round() for child in children] == 3 * [PieceSet.of((7,))]


def test_child_of_two_shards_is_told_once_of_both() -> None:
    with speaking(leisure=3600) as (herald, directory):
        child = Child(herald, SHARD, OTHER)
        directory.verified(SHARD, 1, awaited=False)
        directory.verified(OTHER, 2, awaited=True)
        assert child.next_round() == PieceSet.of((1, 2))


def test_shard_without_children_is_not_watched() -> None:
    with speaking(leisure=3600) as (herald, directory):
        first, second = Child(herald, SHARD), Child(herald, SHARD)
        first.leave[0]()
        directory.verified(SHARD, 1, awaited=True)
        assert second.next_round() == PieceSet.of((1,))
        second.leave[0]()
        second.leave[0]()
        assert not directory.watchers


def test_closing_does_not_wait_for_leisure() -> None:
    with speaking(leisure=3600) as (herald, directory):
        Child(herald, SHARD)
        directory.verified(SHARD, 1, awaited=False)
