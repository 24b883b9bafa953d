"""One cell: a pull begins, the moment comes, the fault is done and healed, and everything is looked at."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from modeldist.errors import ModeldistError
from tests.chaos.matrix.cells import LASTS, Cell, Fault, Moment, Target
from tests.chaos.matrix.checker import wrongs
from tests.chaos.matrix.injuries import injury, party_of, repaired
from tests.chaos.matrix.moments import Scene
from tests.chaos.matrix.published import Published, is_it
from tests.chaos.matrix.room import NoRoom
from tests.chaos.matrix.world import World

_ENDS_WITHIN = 90.0  # seconds after all is healed
_AGAIN_WITHIN = 60.0  # seconds in which a pull after the fault has to work; what went wrong may be remembered for 10
_PARENT = 1  # the node that is pulled from, where a parent is meant


@dataclass(frozen=True)
class Ended:
    """One command: its exit code, and its sentence where that is not 0."""

    code: int
    said: str

    def __str__(self) -> str:
        return "finished" if self.code == 0 else f"exit {self.code}: {self.said}"


@dataclass(frozen=True)
class Seen:
    """What came of a cell. `origin`: what the origin sent until the first pulls had ended, over the model's size."""

    cell: str
    seed: int
    reached: bool
    pulls: tuple[Ended, ...]
    collected: Ended | None
    origin: float
    seconds: float

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.cell}.json").write_text(json.dumps(asdict(self)))


_AFTER_VERIFYING = (Moment.PUBLISH, Moment.MATERIALISE, Moment.GC)


def run_cell(world: World, cell: Cell, seed: int) -> Seen:
    """Raises AssertionError where something hangs, lies, is corrupt or lost, with a note of what room there was; NoRoom
    where that was none at any time: then what was seen is no result, good or bad."""
    world.room.begin()
    full = "while the host's disk was full, which is no result"
    try:
        seen = _run(world, cell, seed)
    except Exception as error:
        error.add_note(f"{world.room}\n{world.origin_account()}")
        if world.room.was_full:
            raise NoRoom(f"{cell.name} failed {full}. {world.room}") from error
        raise
    if world.room.was_full:
        raise NoRoom(f"{cell.name} ran {full}. {world.room}")
    return seen


def _run(world: World, cell: Cell, seed: int) -> Seen:
    rng = random.Random(f"{seed} {cell.name}")
    world.well()
    node = _PARENT if cell.target is Target.PARENT else 0
    party = party_of(world, cell.target, node)
    if cell.fault is Fault.CLOCK:
        world.under_shifted_clock(party)
    scene = _scene(world, cell, rng)
    began = time.monotonic()
    reached = _hurt(scene, cell, rng, node)
    # What is damaged at rest once it was verified nobody sees but `verify`, whose doing is looked at below.
    rots = (cell.target, cell.fault) == (Target.DISK, Fault.CORRUPT) and cell.moment in _AFTER_VERIFYING
    pulls = tuple(ended(pull, None if rots else scene.model, world) for pull in scene.pulls)
    collected = ended(scene.collecting, None, world) if scene.collecting else None
    seconds = time.monotonic() - began
    origin = world.origin_bytes(scene.model) / scene.model.size
    seen = Seen(cell.name, seed, reached, pulls, collected, round(origin, 3), round(seconds, 1))
    if cell.fault is Fault.CLOCK:
        world.under_the_true_clock(party)
    world.well()
    _look(world, cell, scene, seen)
    world.forget(scene.model)
    return seen


def _scene(world: World, cell: Cell, rng: random.Random) -> Scene:
    model = world.publish(rng)
    if cell.target is Target.PARENT:
        before = ended(world.pull(_PARENT, model.reference), model, world)
        assert before.code == 0, before
        return Scene(world, model, [0], world.agents[_PARENT], _PARENT, rng.uniform(0.1, 0.9))
    return Scene(world, model, [0, 1], world.origin, 0, rng.uniform(0.1, 0.9))


def _hurt(scene: Scene, cell: Cell, rng: random.Random, node: int) -> bool:
    """Whether the moment came before the pulls were over."""
    with ExitStack() as until_healed:
        scene.begin(cell.moment)
        reached = scene.await_(cell.moment)
        hurt = injury(scene.world, cell.target, cell.fault, rng, node=node, model=scene.model)
        until_healed.enter_context(hurt)
        if cell.moment is Moment.RESOLVE and (cell.target, cell.fault) != (Target.REGISTRY, Fault.STOP):
            scene.world.registry.wake()
        time.sleep(LASTS[cell.fault])  # how long it lasts
    scene.world.registry.wake()
    return reached


def _look(world: World, cell: Cell, scene: Scene, seen: Seen) -> None:
    allowed = cell.true_reasons | {0}
    for end in seen.pulls:
        assert end.code in allowed, f"not a true reason for {cell.name}: {end}\n{world.log()}"
    if seen.collected is not None:
        assert seen.collected.code in allowed | {12, 17}, f"not a true reason for {cell.name}: {seen.collected}"
    if cell.fault is Fault.CORRUPT and cell.target in (Target.DISK, Target.PARENT):
        repaired(world, 0 if cell.target is Target.DISK else _PARENT)
    for node in {*scene.pullers, *range(world.size)} if cell.target is Target.PARENT else scene.pullers:
        again(world, node, scene.model)
    for node in range(world.size):
        found = wrongs(world.store(node), [scene.model], [scene.model])
        assert not found, f"{found}\n{world.log()}"
    if cell.moment is Moment.GC:
        world.clients[scene.collects].gc()
        assert not any(orphan.exists() for orphan in scene.orphans), "garbage is left"


def again(world: World, node: int, model: Published) -> None:
    """After the fault a pull works: at once, or once what went wrong is not remembered any more."""
    client, deadline = world.clients[node], time.monotonic() + _AGAIN_WITHIN
    while True:
        try:
            now = client.start_pull(model.reference)
            *_, now = client.events(now.pull)
            last = str(now.error)
        except ModeldistError as error:
            last = str(error)
        else:
            if now.state == "done":
                assert is_it(Path(now.path), model), f"the snapshot is not the model\n{world.log()}"
                return
        assert time.monotonic() < deadline, f"a pull after the fault: {last}\n{world.log()}"
        time.sleep(0.5)


def ended(command: subprocess.Popen[str], model: Published | None, world: World) -> Ended:
    """How a command ended; a pull that says it finished has brought `model`."""
    try:
        out, err = command.communicate(timeout=_ENDS_WITHIN)
    except subprocess.TimeoutExpired:
        command.kill()
        command.communicate()
        raise AssertionError(f"{command.args} hangs\n{world.log(4000)}") from None
    if command.returncode == 0 and model is not None:
        assert is_it(Path(json.loads(out)["path"]), model), f"the snapshot is not the model\n{world.log()}"
    said = "" if command.returncode == 0 else _sentence(err)
    assert "Traceback" not in err, err
    assert "unexpectedly" not in said and "report it" not in said, f"a bug: {said}\n{world.log(4000)}"
    assert command.returncode == 0 or said, f"exit code {command.returncode} without a word"
    return Ended(command.returncode, said)


def _sentence(text: str) -> str:
    """Without what differs from run to run."""
    said = " ".join(text.split())
    for pattern, word in (
        (r"/tmp/netlab-\d+-\w+", "…"),
        (r"10\.77\.0\.\d+:5000/org/model-[0-9a-f]+(:v1|@sha256:[0-9a-f]+)", "REF"),
        (r"sha256[:-][0-9a-f]{8,}", "sha256:…"),
        (r"10\.77\.0\.\d+:5000", "REGISTRY"),
        (r"10\.77\.0\.\d+:8080", "ORIGIN"),
        (r"10\.77\.0\.\d+:7420", "CONTROL"),
        (r"org/model-[0-9a-f]+", "org/model"),
        (r"[0-9a-f]{32,}", "…"),
    ):
        said = re.sub(pattern, word, said)
    return said


def recorded_in() -> Path | None:
    """Where `make chaos` wants to have what cells saw."""
    return Path(folder) if (folder := os.environ.get("MODELDIST_CHAOS_RECORD")) else None
