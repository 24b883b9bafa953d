"""Every cell of the fault matrix, by name. `make chaos` runs them; a sample is in `test_matrix_sample.py`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos.matrix.cell_run import recorded_in, run_cell
from tests.chaos.matrix.cells import CELLS, Cell
from tests.chaos.matrix.world import World


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    with World(2) as made:
        yield made


@pytest.mark.timeout(400)
@pytest.mark.parametrize("cell", CELLS, ids=[cell.name for cell in CELLS])
def test_survives(cell: Cell, world: World, seed: int) -> None:
    print(f"MODELDIST_CHAOS_SEED={seed}")
    seen = run_cell(world, cell, seed)
    print(seen)
    if folder := recorded_in():
        seen.save(folder)
