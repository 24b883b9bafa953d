"""Slots go to those who wait in order, whatever threads give them back."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator

import pytest

from rdma.double import MemoryDevice, MemoryFabric
from rdma.pool import Pool, Slot

SLOT = 4096


@pytest.fixture
def device() -> Iterator[MemoryDevice]:
    device = MemoryFabric().device("mem0")
    yield device
    device.close()


def test_who_waits_later_is_not_served_before(device: MemoryDevice) -> None:
    """Also when a slot comes free while another thread is about to hand one to who waits longer."""
    pool = Pool(device, slot=SLOT, slots=2)
    one, other = pool.take(), pool.take()
    assert one is not None
    assert other is not None
    entered, go = threading.Event(), threading.Event()
    served: list[str] = []

    def first(_: Slot) -> None:
        entered.set()
        go.wait()
        served.append("first")

    pool.when_free(first)
    thread = threading.Thread(target=one.release)
    thread.start()
    entered.wait()
    other.release()
    pool.when_free(lambda _: served.append("second"))
    go.set()
    thread.join()
    assert served == ["first", "second"]


def test_any_number_may_wait_and_give_back_at_once(device: MemoryDevice) -> None:
    """As the parts of requests do whose queue pair has broken."""
    pool = Pool(device, slot=SLOT, slots=1)
    slot = pool.take()
    assert slot is not None
    served: list[int] = []

    def give_back(slot: Slot) -> None:
        served.append(slot.offset)
        slot.release()

    count = 2 * sys.getrecursionlimit()
    for _ in range(count):
        pool.when_free(give_back)
    slot.release()
    assert len(served) == count
    assert pool.free == 1
