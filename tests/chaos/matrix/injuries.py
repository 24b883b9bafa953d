"""How each fault is done to each target, and undone."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from tests.chaos.matrix.cells import Fault, Target
from tests.chaos.matrix.disks import Disk, damage
from tests.chaos.matrix.parties import Party, strokes
from tests.chaos.matrix.published import WEIGHTS, Published
from tests.chaos.matrix.world import World

Injury = AbstractContextManager[object]
"""Entering does it; leaving heals it."""

_TWO_DAYS = 2 * 86_400  # seconds: more than any token, capability or age that a transfer depends on
_FROZEN, _THAWED = 0.15, 0.05  # seconds of each stroke of a disk that is slow


def injury(
    world: World, target: Target, fault: Fault, rng: random.Random, *, node: int, model: Published | None = None
) -> Injury:
    """`node` is whose agent, network or disk is meant; `model` the one whose bytes are corrupted."""
    if target is Target.DISK:
        return _of_a_disk(world, fault, node, model)
    if target is Target.NETWORK:
        return _of_a_link(world, fault, f"n{node}")
    party = party_of(world, target, node)
    if fault is Fault.CORRUPT:
        assert model is not None
        return _corrupted(_files(world, target, node, model), for_ever=target is Target.PARENT)
    if fault is Fault.SLOW and target in (Target.ORIGIN, Target.REGISTRY):
        return _of_a_link(world, fault, party.role)
    if fault is Fault.PARTITION:
        return _of_a_link(world, fault, party.role)
    if fault is Fault.FULL:
        assert target is Target.DATABASE
        return _full(world.database_disk)
    if fault is Fault.CLOCK:
        return _at_another_time(world, rng)
    return _of_a_process(party, fault)


def party_of(world: World, target: Target, node: int) -> Party:
    """The process that is meant; of a node's network and disk, its agent."""
    others = {
        Target.ORIGIN: world.origin,
        Target.REGISTRY: world.registry,
        Target.CONTROL: world.control,
        Target.DATABASE: world.database,
    }
    return others[target] if target in others else world.agents[node]


def _of_a_process(party: Party, fault: Fault) -> Injury:
    if fault is Fault.SLOW:
        return party.slowed()
    if fault is Fault.RESTART:
        party.restart()
        return nullcontext()
    return _undone(*{Fault.KILL: (party.kill, party.start), Fault.STOP: (party.sleep, party.wake)}[fault])


def _of_a_link(world: World, fault: Fault, role: str) -> Injury:
    harm = {Fault.SLOW: world.link_slow, Fault.PARTITION: world.cut, Fault.RESTART: world.link_down}[fault]
    return _undone(lambda: harm(role), lambda: world.link_up(role))


def _of_a_disk(world: World, fault: Fault, node: int, model: Published | None) -> Injury:
    disk, agent = world.disks[node], world.agents[node]
    if fault is Fault.SLOW:
        return strokes(disk.freeze, disk.thaw, _FROZEN, _THAWED)
    if fault is Fault.STOP:
        return _undone(disk.freeze, disk.thaw)
    if fault is Fault.FULL:
        return _full(disk)
    if fault is Fault.CORRUPT:
        assert model is not None
        return _corrupted(_files(world, Target.DISK, node, model), for_ever=True)

    def mounted_again() -> None:
        agent.kill() if fault is Fault.KILL else agent.stop()
        disk.unmount()
        disk.mount()
        agent.start()

    return _undone(disk.cut_off if fault is Fault.KILL else lambda: None, mounted_again)


def _files(world: World, target: Target, node: int, model: Published) -> list[Path]:
    """Those that are corrupted."""
    if target is Target.ORIGIN:
        return [model.weights]
    if target is Target.REGISTRY:
        return [model.manifest_file]
    store = world.store(node)
    name = model.digests[WEIGHTS].removeprefix("sha256:")
    blob = store / "blobs" / "sha256" / name[:2] / name
    return [blob] if blob.exists() else [folder / "data" for folder in (store / "partial").glob(f"*{name}*")]


@contextmanager
def _corrupted(files: list[Path], *, for_ever: bool = False) -> Iterator[None]:
    for file in files:
        damage(file)
    yield
    for file in () if for_ever else files:  # a store may have put something else there by now
        damage(file)  # back again


@contextmanager
def _full(disk: Disk) -> Iterator[None]:
    disk.fill()
    yield
    disk.empty()


@contextmanager
def _at_another_time(world: World, rng: random.Random) -> Iterator[None]:
    """Until the process starts again: a clock that was wrong is not right by itself."""
    world.clock.set(rng.choice((_TWO_DAYS, -_TWO_DAYS)))
    yield


@contextmanager
def _undone(harm: Callable[[], None], heal: Callable[[], None]) -> Iterator[None]:
    harm()
    yield
    heal()


def repaired(world: World, node: int) -> None:
    """As whoever is told of a damaged store does: `modeldist verify --remove`."""
    world.start(node, "verify", "--remove", "--json").communicate(timeout=60)
