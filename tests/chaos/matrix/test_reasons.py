"""A failed pull that names another fault than there was is found."""

from __future__ import annotations

import pytest

from tests.chaos.matrix.cells import CELLS, REASONS, Fault, Target
from tests.chaos.matrix.reasons import Injured, is_true

KILLED = Injured(Target.AGENT, Fault.KILL, 100.0, 101.0, node=2)
FULL = Injured(Target.DISK, Fault.FULL, 100.0, 101.0, node=2)
NO_ORIGIN = Injured(Target.ORIGIN, Fault.KILL, 100.0, 101.0, node=2)  # drawn, and of no meaning to an origin


@pytest.mark.parametrize(
    ("code", "said", "node", "injured", "true"),
    [
        (17, "No agent listens on …/n2.sock.", 2, KILLED, True),
        (17, "No agent listens on …/n2.sock.", 3, KILLED, False),
        (17, "No agent listens on …/n3.sock.", 2, KILLED, False),
        (8, "the origin does not answer", 2, KILLED, False),
        (13, "Cannot take a lease at …/disk-n2/store/live", 2, FULL, True),
        (13, "Cannot take a lease at …/disk-n4/store/live", 2, FULL, False),
        (12, "Cannot take a lease at …/disk-n2/store/live", 2, FULL, False),
        (8, "ORIGIN does not answer", 5, NO_ORIGIN, True),
        (10, "the content is another", 5, NO_ORIGIN, False),
        (15, "no session", 5, NO_ORIGIN, False),
    ],
)
def test_who_says_what(code: int, said: str, node: int, injured: Injured, true: bool) -> None:
    assert is_true(code, said, node=node, began=99.0, end=100.5, injuries=[injured]) is true


@pytest.mark.parametrize(
    ("began", "end", "true"),
    [(90.0, 99.9, False), (90.0, 100.0, True), (110.0, 112.0, True), (120.0, 121.0, False)],
)
def test_only_for_as_long_as_it_lasts_and_is_felt(began: float, end: float, true: bool) -> None:
    assert is_true(8, "", node=0, began=began, end=end, injuries=[NO_ORIGIN]) is true


def test_every_cell_has_its_reasons() -> None:
    assert all((cell.target, cell.fault) in REASONS for cell in CELLS)
