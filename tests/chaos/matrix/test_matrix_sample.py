"""A few cells of the fault matrix, of every kind of means. `make chaos` runs all of them."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.chaos.matrix.cell_run import ended, run_cell
from tests.chaos.matrix.cells import CELLS, MEANINGLESS, Cell, Fault, Moment, Target
from tests.chaos.matrix.world import World, missing
from tests.netlab.topology import ORIGIN

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


def test_the_log_has_what_everybody_said(world: World, seed: int) -> None:
    world.well()
    model = world.publish(random.Random(seed))
    ended(world.pull(0, model.reference), model, world)
    asked = f"import urllib.request; urllib.request.urlopen('http://{world.lab.address(ORIGIN)}:8080/nothing')"
    subprocess.run([*world.lab.inside("n0"), sys.executable, "-c", asked], check=False, capture_output=True)
    world.forget(model)
    said = world.log(4000)
    assert "host disk free: " in said
    assert re.search(r"--- registry\n(.*\n)*?.*GET /v2/org/model-", said)
    assert re.search(r"--- origin\n(.*\n)*?.*\[error\].*/nothing.* failed \(2: No such file or directory\)", said)
    assert re.search(r"--- what the origin answered\n(.*\n)*?/nothing \d+\n", said)
    assert 'role "root"' not in world.database.log


def test_every_cell_runs_or_says_why_not() -> None:
    running = {(cell.target, cell.fault) for cell in CELLS}
    assert running | set(MEANINGLESS) == {(target, fault) for target in Target for fault in Fault}
    assert not running & set(MEANINGLESS)
    assert len({cell.name for cell in CELLS}) == len(CELLS)
