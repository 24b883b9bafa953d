"""Have-updates go out in rounds: at once where others wait for a piece, with the next round or at leisure elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from modeldist.transfer.tcp.herald import Herald


class Listener:
    def __init__(self) -> None:
        self.told = threading.Semaphore(0)

    def tell_news(self) -> None:
        self.told.release()

    @property
    def heard(self) -> bool:
        return self.told.acquire(timeout=10)


@contextmanager
def herald(leisure: float) -> Iterator[Herald]:
    made = Herald(interval=0.001, leisure=leisure)
    try:
        yield made
    finally:
        made.close()


def test_news_that_nobody_waits_for_are_told_after_a_while() -> None:
    child = Listener()
    with herald(leisure=0.001) as speaks:
        for _ in range(3):
            speaks.has_news(child, awaited=False)
            assert child.heard


def test_news_that_nobody_waits_for_go_along_with_those_that_are_awaited() -> None:
    patient, waiting = Listener(), Listener()
    with herald(leisure=3600) as speaks:
        for _ in range(3):
            speaks.has_news(patient, awaited=False)
            speaks.has_news(waiting, awaited=True)
            assert patient.heard
            assert waiting.heard


def test_closing_does_not_wait_for_leisure() -> None:
    with herald(leisure=3600) as speaks:
        speaks.has_news(Listener(), awaited=False)
