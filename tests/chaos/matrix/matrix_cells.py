"""Every cell of the fault matrix, by name. `make chaos` runs them; a sample is in `test_matrix_sample.py`."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.chaos.matrix.cell_run import recorded_in, run_cell
from tests.chaos.matrix.cells import CELLS, Cell
from tests.chaos.matrix.room import NoRoom
from tests.chaos.matrix.world import World


@pytest.fixture(scope="session")
def worlds() -> Iterator[Callable[[bool], World]]:
    """The world; called with True, a new one: what a cell left that failed is no other cell's."""
    with ExitStack() as stack:
        made: list[World] = []

        def world(new: bool) -> World:
            if new:
                made.clear()
                stack.close()
            if not made:
                made.append(stack.enter_context(World(2)))
            return made[0]

        yield world


def _wanted() -> list[Cell]:
    """All, or those that the run before has no record of (`--resume`)."""
    folder = recorded_in() if os.environ.get("MODELDIST_CHAOS_RESUME") else None
    return [cell for cell in CELLS if folder is None or not (folder / f"{cell.name}.json").exists()]


@pytest.mark.timeout(400)
@pytest.mark.parametrize("cell", cells := _wanted(), ids=[cell.name for cell in cells])
def test_survives(cell: Cell, worlds: Callable[[bool], World], seed: int) -> None:
    print(f"MODELDIST_CHAOS_SEED={seed}")
    folder = recorded_in()
    try:
        seen = run_cell(worlds(False), cell, seed)
    except Exception as error:
        if folder and not isinstance(error, NoRoom):  # at once: pytest tells of all failures at its end
            (folder / f"{cell.name}.failed").write_text("".join(traceback.format_exception_only(error)))
        worlds(True)
        raise
    print(seen)
    if folder:
        (folder / f"{cell.name}.failed").unlink(missing_ok=True)
        seen.save(folder)
