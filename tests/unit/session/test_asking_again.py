"""When a control plane without room is asked again."""

from __future__ import annotations

import pytest

from modeldist.errors import ControlPlaneRefused, ModeldistError, Overloaded, RateLimited, ShareUsedUp
from modeldist.session.asking_again import LONGEST, SPREAD, AskingAgain


@pytest.mark.parametrize("kind", [Overloaded, ShareUsedUp])
@pytest.mark.parametrize("uniform", [0.0, 0.5, 0.999])
def test_never_before_it_is_said_and_a_little_spread(kind: type[Overloaded], uniform: float) -> None:
    pause = AskingAgain(60.0, 100.0).pause(kind("Full.", retry_after=8.0), 101.0, uniform)
    assert pause == pytest.approx(8.0 * (1 + SPREAD * uniform))


def test_up_to_the_deadline_and_no_further() -> None:
    again, full = AskingAgain(10.0, 100.0), Overloaded("Full.", retry_after=4.0)
    assert again.pause(full, 106.0, 0.0) == 4.0
    assert again.pause(full, 106.1, 0.0) is None


def test_once_without_patience() -> None:
    assert AskingAgain(0.0, 100.0).pause(Overloaded("Full.", retry_after=0.0), 100.0, 0.0) is None


def test_longer_and_longer_where_nobody_says() -> None:
    again = AskingAgain(1000.0, 0.0)
    pauses = [again.pause(Overloaded("Full."), 0.0, 0.0) for _ in range(7)]
    assert pauses == [0.5, 1.0, 2.0, 4.0, LONGEST, LONGEST, LONGEST]


@pytest.mark.parametrize("said", [0.0, -3.0])
def test_never_at_once_whatever_is_said(said: float) -> None:
    again = AskingAgain(1000.0, 0.0)
    assert [again.pause(Overloaded("Full.", retry_after=said), 0.0, 0.0) for _ in range(3)] == [0.5, 1.0, 2.0]


@pytest.mark.parametrize("kind", [ControlPlaneRefused, RateLimited, ModeldistError])
def test_other_errors_are_answers(kind: type[ModeldistError]) -> None:
    assert AskingAgain(60.0, 0.0).pause(kind("No.", retry_after=1.0), 0.0, 0.0) is None
