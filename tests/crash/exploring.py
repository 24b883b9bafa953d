"""One operation, recorded, and the store checked on each disk that a crash in it may leave."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.crash.effects import Log, Made, Said
from tests.crash.invariants import give_up, go_on
from tests.crash.operations import OPERATIONS, Operation
from tests.crash.recording import recording
from tests.crash.replaying import look, make
from tests.crash.states import State, after_kill, after_power_loss, everything

IN_MEMORY = Path("/dev/shm")


@dataclass
class Found:
    """`disks` that differ and were checked, of `tried` crashes. `violations`: what is wrong, and the first crash."""

    effects: Counter[str] = field(default_factory=Counter)
    tried: int = 0
    disks: int = 0
    violations: dict[str, str] = field(default_factory=dict)


def record(operation: Operation, root: Path) -> Log:
    """Raises AssertionError where an effect was missed: the log, replayed, must be what is there."""
    store = _fresh(root)
    operation.before(store)
    with recording(store) as log:
        operation.do(store, log.say, log.unsay)
    replayed = root / "replayed"
    replayed.mkdir()
    make(everything(log), replayed)
    assert look(replayed) == look(store), "an effect was not recorded"
    return log


def _fresh(root: Path) -> Path:
    """An empty folder, always of one path: records of snapshots name it."""
    store = root / "store"
    shutil.rmtree(store, ignore_errors=True)
    store.mkdir()
    return store


@contextmanager
def scratch() -> Iterator[Path]:
    """In memory where there is such a place: nothing here has to last."""
    place = tempfile.mkdtemp(prefix="crash-", dir=IN_MEMORY if IN_MEMORY.is_dir() else None)
    try:
        yield Path(place)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def explore(operation: Operation, *, kills: int = 1, losses: int = 1) -> Found:
    """Each `kills`th crash of the process and each `losses`th of the machine."""
    found = Found()
    with scratch() as place:
        log = record(operation, place)
        found.effects.update(type(each).__name__ for each in log.effects if not isinstance(each, Said | Made))
        alike: dict[bytes, dict[frozenset[tuple[object, ...]], State]] = {}
        for state in itertools.chain(after_kill(log, kills), after_power_loss(log, losses)):
            found.tried += 1
            alike.setdefault(state.disk.key, {}).setdefault(state.promises, state)
        found.disks = len(alike)
        for same in alike.values():
            for wrong, crash in _wrongs(operation, list(same.values()), place):
                found.violations.setdefault(wrong, crash)
    return found


def _wrongs(operation: Operation, same: list[State], place: Path) -> Iterator[tuple[str, str]]:
    """What does not hold on one disk, that several crashes leave. What was promised before any of them has to hold, and
    each promise by itself; so they are looked at together, and one by one where one of them fails."""
    together = State(same[0].disk, same[0].crash, frozenset().union(*(state.promises for state in same)))
    if (wrong := _wrong(operation, together, place)) is None:
        return
    if len(same) == 1:
        yield wrong, together.crash
        return
    one_by_one = [(found, state.crash) for state in same if (found := _wrong(operation, state, place)) is not None]
    yield from one_by_one or [(wrong, f"one of {len(same)} crashes that leave one disk: {together.crash}")]


def explore_named(losses: int, name: str) -> Found:
    """In a process of its own."""
    return explore(next(operation for operation in OPERATIONS if operation.name == name), losses=losses)


def _wrong(operation: Operation, state: State, place: Path) -> str | None:
    try:
        for inspect in (go_on, give_up):
            store = _fresh(place)
            make(state.disk, store)
            inspect(operation, state.promises, store)
    except Exception as error:  # whatever the store raises, it must not
        return f"{type(error).__name__}: {error}".replace(str(place), "")
    return None
