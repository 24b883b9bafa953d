"""Small files wait for large ones only while those keep the machine busy."""

from __future__ import annotations

import pytest

from modeldist.agent.giving_way import GivingWay

ENOUGH = 100e6  # bytes/s


class Node:
    def __init__(self, enough: float | None = ENOUGH) -> None:
        self.now = 0.0
        self.read = 0
        self.way = GivingWay(enough, lambda: self.now)

    def after(self, seconds: float, rate: float, *, reading: bool = True) -> bool:
        self.now += seconds
        self.read += int(seconds * rate)
        self.way.look(self.read, reading=reading)
        return self.way.now


def test_bytes_that_come_fast_go_first() -> None:
    assert Node().after(0.1, 2 * ENOUGH)


@pytest.mark.parametrize("rate", [0.0, ENOUGH / 2])
def test_a_slow_link_leaves_time(rate: float) -> None:
    node = Node()
    assert not node.after(0.1, rate)
    assert node.after(0.1, 2 * ENOUGH)
    assert not node.after(0.1, rate)


def test_a_moment_tells_nothing() -> None:
    node = Node()
    assert node.after(0.1, 2 * ENOUGH)
    assert node.after(0.01, 0)
    assert not node.after(0.09, 0)


def test_when_all_has_come_nothing_waits() -> None:
    node = Node()
    assert node.after(0.1, 2 * ENOUGH)
    assert not node.after(0.001, 0, reading=False)


def test_many_cores_are_never_busy() -> None:
    assert not Node(None).after(0.1, 2 * ENOUGH)
