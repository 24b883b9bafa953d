"""The moments of a pull at which something dies: found by looking at the origin and the disk, never by waiting."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from tests.servers import faults
from tests.servers.oci_faults import Exchange, FaultyRegistry

RATE = 3_000_000  # bytes/s of one connection to the origin: slow enough to be met in the middle
WEIGHTS = 10_000_000
PATIENCE = 40.0  # seconds


@dataclass
class Scene:
    """One model at the origin, about to be pulled for the first time. `files` is its content."""

    origin: FaultyRegistry
    files: dict[str, bytes]
    repository: str
    fraction: float
    hold: faults.Hold = field(default_factory=faults.Hold)

    @property
    def reference(self) -> str:
        return f"{self.origin.host}/{self.repository}:v1"

    @cached_property
    def digests(self) -> set[str]:
        return {f"sha256:{hashlib.sha256(content).hexdigest()}" for content in self.files.values()}

    @property
    def size(self) -> int:
        return sum(map(len, self.files.values()))

    def reads(self) -> list[Exchange]:
        """Requests for ranges of this model's shards, in the order they came."""
        blobs = f"/v2/{self.repository}/blobs/"
        return [exchange for exchange in self.origin.seen("blobs", "GET") if exchange.path.startswith(blobs)]

    def sent(self) -> int:
        return sum(exchange.sent for exchange in self.reads() if exchange.range)

    def disturb(self) -> None:
        """From now on the origin is slow, and holds the answer to whoever asks what the reference means."""
        self.origin.inject(faults.held(self.hold), on=f"/{self.repository}/manifests/", method="GET")
        self.origin.inject(faults.slow(RATE), on=f"/{self.repository}/blobs/")

    def heal(self) -> None:
        self.hold.resume.set()
        self.origin.heal()


def new_scene(origin: FaultyRegistry, rng: random.Random) -> Scene:
    files = {
        "config.json": b'{"salt": "%x"}' % rng.randrange(1 << 64),
        "model.safetensors": rng.randbytes(WEIGHTS + rng.randrange(1000)),
        "tokenizer.json": rng.randbytes(rng.randrange(1, 700_000)),
    }
    repository = f"org/model-{rng.randrange(1 << 48):x}"
    origin.add_model(repository, "v1", files)
    return Scene(origin, files, repository, fraction=rng.uniform(0.05, 0.95))


def slow_scene(origin: FaultyRegistry, rng: random.Random, *, weights: int, rate: float) -> Scene:
    """One large file, of which a connection to the origin gives `rate` bytes/s."""
    files = {"config.json": b"{}", "model.safetensors": rng.randbytes(weights)}
    repository = f"org/model-{rng.randrange(1 << 48):x}"
    origin.add_model(repository, "v1", files)
    origin.inject(faults.slow(rate), on=f"/{repository}/blobs/")
    return Scene(origin, files, repository, fraction=0)


@dataclass(frozen=True)
class Moment:
    """`reached(scene, stores)`: it has come. `stores` are those of the nodes that pull."""

    name: str
    reached: Callable[[Scene, list[Path]], bool]
    resolved: bool = True  # the reference is known by then

    def await_(self, scene: Scene, stores: list[Path], over: Callable[[], bool]) -> None:
        """Return when it has come, or when the pull is `over` already."""
        deadline = time.monotonic() + PATIENCE
        scene.disturb()
        if self.resolved:
            scene.hold.resume.set()
        while not self.reached(scene, stores) and not over():
            assert time.monotonic() < deadline, f"{self.name} never came"
            time.sleep(0.001)

    def __str__(self) -> str:
        return self.name


def _stored(scene: Scene, stores: list[Path]) -> bool:
    """Every shard is complete on every node."""
    names = [digest.removeprefix("sha256:") for digest in scene.digests]
    return all((store / "blobs" / "sha256" / name[:2] / name).exists() for store in stores for name in names)


RESOLVE = Moment("resolve", lambda scene, _: scene.hold.reached.is_set(), resolved=False)
FIRST_LEASE = Moment("first-lease", lambda scene, _: any(exchange.range for exchange in scene.reads()))
MID_TRANSFER = Moment("mid-transfer", lambda scene, _: scene.sent() >= scene.fraction * scene.size)
VERIFY = Moment("verify", lambda scene, _: scene.sent() >= scene.size)
MATERIALISE = Moment("materialise", _stored)
MOMENTS = (RESOLVE, FIRST_LEASE, MID_TRANSFER, VERIFY, MATERIALISE)
