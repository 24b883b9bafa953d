"""A few cells of the fault matrix, of every kind of means. `make chaos` runs all of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos.matrix.cell_run import run_cell
from tests.chaos.matrix.cells import CELLS, MEANINGLESS, Cell, Fault, Moment, Target
from tests.chaos.matrix.world import World, missing

pytestmark = pytest.mark.slow

_SAMPLE = (
    Cell(Target.AGENT, Fault.KILL, Moment.MID_TRANSFER),
    Cell(Target.ORIGIN, Fault.CORRUPT, Moment.FIRST_LEASE),
    Cell(Target.DATABASE, Fault.STOP, Moment.RESOLVE),
    Cell(Target.NETWORK, Fault.PARTITION, Moment.MID_TRANSFER),
    Cell(Target.DISK, Fault.FULL, Moment.PUBLISH),
)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    if why := missing():
        pytest.skip(why)
    with World(2) as made:
        yield made


@pytest.mark.parametrize("cell", _SAMPLE, ids=[cell.name for cell in _SAMPLE])
def test_survives(cell: Cell, world: World, seed: int) -> None:
    print(f"MODELDIST_CHAOS_SEED={seed}")
    print(run_cell(world, cell, seed))


def test_every_cell_runs_or_says_why_not() -> None:
    running = {(cell.target, cell.fault) for cell in CELLS}
    assert running | set(MEANINGLESS) == {(target, fault) for target in Target for fault in Fault}
    assert not running & set(MEANINGLESS)
    assert len({cell.name for cell in CELLS}) == len(CELLS)
