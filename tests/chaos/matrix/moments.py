"""When each moment of a pull has come in a world, told by what is on the wire and on the disks."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.matrix.cells import Moment
from tests.chaos.matrix.parties import Party
from tests.chaos.matrix.published import WEIGHTS, Published
from tests.chaos.matrix.world import World
from tests.chaos.on_disk import finished, size_of

_PATIENCE = 30.0  # seconds
_LITTLE = 50_000  # bytes: the first of a lease, and more than what is said besides
_ORPHANS = 400  # blobs of nothing, for gc to remove
_OLD = 7200.0  # seconds since they were written


@dataclass
class Scene:
    """A model that nodes `pullers` are about to pull from `source`; `collects` is the node that collects garbage."""

    world: World
    model: Published
    pullers: list[int]
    source: Party
    collects: int
    fraction: float
    pulls: list[subprocess.Popen[str]] = field(default_factory=list)
    collecting: subprocess.Popen[str] | None = None
    orphans: list[Path] = field(default_factory=list)
    before: int = 0

    def begin(self, moment: Moment) -> None:
        """Start the pulls; where the meaning of the reference is to be waited for, the registry is stopped."""
        self.before = self.source.sent()
        if moment is Moment.RESOLVE:
            self.world.registry.sleep()
        if moment is Moment.GC:
            self.orphans = orphans(self.world.store(self.collects))
        self.pulls = [self.world.pull(node, self.model.reference) for node in self.pullers]

    def await_(self, moment: Moment) -> bool:
        """Return when the moment has come: False, when the pulls were over before."""
        if moment is Moment.GC:
            self._await(Moment.FIRST_LEASE, self._reached(Moment.FIRST_LEASE))
            self.collecting = self.world.start(self.collects, "gc", "--json")
        return self._await(moment, self._reached(moment))

    def over(self) -> bool:
        running = [*self.pulls, self.collecting] if self.collecting else self.pulls
        return all(pull.poll() is not None for pull in running)

    def _await(self, moment: Moment, reached: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + _PATIENCE
        while not reached():
            if self.over():
                return reached()
            assert time.monotonic() < deadline, f"{moment} never came\n{self.world.log()}"
            time.sleep(0.002)
        return True

    def _reached(self, moment: Moment) -> Callable[[], bool]:
        store, size = self.world.store(self.pullers[0]), self.model.size
        digests = set(self.model.digests.values())
        weights = self.model.digests[WEIGHTS]
        blobs = [store / "blobs/sha256" / name[7:9] / name[7:] for name in digests]
        return {
            Moment.RESOLVE: self.world.registry_is_asked,
            Moment.FIRST_LEASE: lambda: self._sent() >= _LITTLE,
            Moment.MID_TRANSFER: lambda: self._sent() >= self.fraction * size,
            Moment.VERIFY: lambda: self._sent() >= size,
            Moment.PUBLISH: lambda: size_of(finished(store, {weights})) >= self.model.sizes[WEIGHTS],
            Moment.MATERIALISE: lambda: all(blob.exists() for blob in blobs),
            Moment.GC: lambda: any(not orphan.exists() for orphan in self.orphans),
        }[moment]

    def _sent(self) -> int:
        return self.source.sent() - self.before


def orphans(store: Path) -> list[Path]:
    """Blobs of no model, so old that gc removes them."""
    made = []
    rng = random.Random()
    for _ in range(_ORPHANS):
        content = rng.randbytes(64)
        name = hashlib.sha256(content).hexdigest()
        path = store / "blobs/sha256" / name[:2] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (time.time() - _OLD,) * 2)
        made.append(path)
    os.sync()  # a loss of power is to find them as they are
    return made
