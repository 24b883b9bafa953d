"""What is read beside its use comes in order, not too far ahead, and ends when nobody takes it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from modeldist.streaming.beside import AHEAD, Beside

PATIENCE = 20.0


def test_all_come_in_order_and_what_failed_comes_last() -> None:
    def items() -> Iterator[int]:
        yield from range(100)
        raise ZeroDivisionError

    beside = Beside(items(), lambda _: 1, "test")
    taken = []
    with pytest.raises(ZeroDivisionError):
        for item in beside.taken():
            taken.append(item)
    assert taken == list(range(100))


def test_it_goes_no_further_ahead_than_it_may() -> None:
    begun: list[int] = []
    fourth = threading.Event()

    def items() -> Iterator[int]:
        for number in range(10):
            begun.append(number)
            if number == 3:
                fourth.set()
            yield number

    beside = Beside(items(), lambda _: AHEAD // 2, "test")
    coming = beside.taken()
    assert next(coming) == 0
    assert fourth.wait(PATIENCE)
    assert begun[-1] <= 3
    assert list(coming) == list(range(1, 10))


def test_it_ends_when_nobody_takes_what_it_has() -> None:
    def items() -> Iterator[int]:
        while True:
            yield 1

    beside = Beside(items(), lambda _: AHEAD, "test")
    assert next(beside.taken()) == 1
    beside.stop()
    beside.join()
    assert list(beside.taken()) == []
