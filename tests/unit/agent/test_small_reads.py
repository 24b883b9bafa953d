"""Small reads in a row: by one thread while the origin answers at once, by several where it is waited for."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import pytest

from modeldist.agent.small_reads import SmallReads

PATIENCE = 20.0  # seconds


class Origin:
    """Every read says that it began, and ends when told to."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self.now = 0.0
        self.began: SimpleQueue[int] = SimpleQueue()
        self.go = threading.Semaphore(0)
        self.told: SimpleQueue[list[int]] = SimpleQueue()
        self.reads = SmallReads(pool, 4, self._read, self._tell, lambda: self.now)

    def _read(self, read: int) -> None:
        self.began.put(read)
        assert self.go.acquire(timeout=PATIENCE)

    def _tell(self, reads: Sequence[int]) -> None:
        self.told.put(list(reads))

    def next(self) -> int:
        return self.began.get(timeout=PATIENCE)

    def next_told(self) -> list[int]:
        return self.told.get(timeout=PATIENCE)


@pytest.fixture
def origin() -> Iterator[Origin]:
    with ThreadPoolExecutor(4) as pool:
        made = Origin(pool)
        yield made
        made.go.release(1000)


def test_fast_reads_follow_each_other_and_are_told_of_together(origin: Origin) -> None:
    for read in range(40):
        origin.reads.add(read)
    for read in range(40):
        assert origin.next() == read
        assert origin.began.empty()
        origin.now += 0.0001
        origin.go.release()
    told = [origin.next_told(), origin.next_told(), origin.next_told()]
    assert [read for reads in told for read in reads] == list(range(40))
    assert len(told[0]) == 16


def test_slow_reads_are_told_of_at_once_and_several_begin(origin: Origin) -> None:
    for read in range(8):
        origin.reads.add(read)
    assert origin.next() == 0
    origin.now += 0.1
    origin.reads.tick()
    assert {origin.next() for _ in range(3)} == {1, 2, 3}
    assert origin.began.empty()
    origin.go.release()
    assert len(origin.next_told()) == 1


def test_what_has_ended_does_not_wait_for_a_read_that_hangs(origin: Origin) -> None:
    origin.reads.add(0)
    origin.reads.add(1)
    assert origin.next() == 0
    origin.go.release()
    assert origin.next() == 1
    origin.now += 0.01
    origin.reads.tick()
    assert origin.next_told() == [0]
    origin.go.release()
    assert origin.next_told() == [1]


def test_it_begins_again_after_a_rest(origin: Origin) -> None:
    for read in range(2):
        origin.reads.add(read)
        assert origin.next() == read
        origin.go.release()
        assert origin.next_told() == [read]
