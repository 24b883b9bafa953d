"""How long an update may take is the control plane's word, within limits of the node's own."""

from __future__ import annotations

import math

import pytest

from modeldist.agent.updating import LONGEST, _bounded


@pytest.mark.parametrize(
    ("asked", "taken"),
    [(60.0, 60.0), (-1.0, 0.0), (math.nan, 0.0), (-math.inf, 0.0), (math.inf, LONGEST), (1e9, LONGEST)],
)
def test_a_version_always_has_an_end_to_come_up_by(asked: float, taken: float) -> None:
    assert _bounded(asked) == taken
