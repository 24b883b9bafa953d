"""Which replica a client asks, and what it asks again."""

from __future__ import annotations

import httpx2
import pytest

from modeldist.client.replicas import AGAIN_FOR, ROUND, Replicas
from modeldist.errors import NotLeading
from modeldist.session.addresses import addresses

A, B = "https://a", "https://b"
REFUSED, LOST, LATE = httpx2.ConnectError("refused"), httpx2.ReadError("reset"), httpx2.ReadTimeout("late")


class World:
    def __init__(self, given: str) -> None:
        self.now = 0.0
        self.replicas = Replicas(given, lambda: self.now)


def test_addresses_of_one_text_or_a_list() -> None:
    assert addresses("https://a/, https://b https://a") == (A, B)
    assert addresses([A + "/", B]) == (A, B)
    assert addresses("") == ()


def test_one_round_without_a_pause_then_pauses_then_it_stands() -> None:
    world = World(f"{A},{B}")
    attempts = world.replicas.attempts()
    asked = []
    for error in (REFUSED, NotLeading(""), REFUSED, NotLeading("")):
        asked.append((world.replicas.url, attempts.after(error, world.replicas.url, repeatable=False)))
    assert asked == [(A, 0.0), (B, ROUND), (A, 0.0), (B, ROUND)]
    world.now = AGAIN_FOR + 1
    assert attempts.after(REFUSED, world.replicas.url, repeatable=True) is None
    assert world.replicas.attempts().after(REFUSED, world.replicas.url, repeatable=True) == 0.0


@pytest.mark.parametrize(("error", "repeatable"), [(LOST, False), (LATE, True), (LATE, False)])
def test_what_may_have_been_done_is_not_done_twice(error: Exception, repeatable: bool) -> None:
    world = World(f"{A},{B}")
    assert world.replicas.attempts().after(error, A, repeatable=repeatable) is None
    assert world.replicas.url == A


def test_a_lost_answer_to_what_may_be_repeated() -> None:
    world = World(f"{A},{B}")
    assert world.replicas.attempts().after(LOST, A, repeatable=True) == 0.0
    assert world.replicas.url == B


def test_one_address_is_asked_again_only_while_it_stands_by() -> None:
    world = World(A)
    assert world.replicas.attempts().after(REFUSED, A, repeatable=True) is None
    assert world.replicas.attempts().after(NotLeading(""), A, repeatable=False) == ROUND
    assert world.replicas.key() is None


def test_two_questions_that_fail_at_one_replica_leave_it_once() -> None:
    world = World(f"{A},{B}")
    world.replicas.leave(A)
    world.replicas.leave(A)
    assert world.replicas.url == B
