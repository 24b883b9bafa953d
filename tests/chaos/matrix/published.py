"""Models in a registry's storage, written as a push leaves them: Debian's docker-registry finds them there."""

from __future__ import annotations

import hashlib
import random
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.servers.artifacts import Written, raw, sha256, written

WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Published:
    """`digests` and `sizes` by the name of the file; `storage` is the registry's; `manifest` a digest."""

    reference: str
    repository: str
    digests: dict[str, str]
    sizes: dict[str, int]
    storage: Path
    manifest: str

    @property
    def size(self) -> int:
        return sum(self.sizes.values())

    @property
    def weights(self) -> Path:
        """Where its weights lie on the origin's disk."""
        return _blob(self.storage, self.digests[WEIGHTS])

    @property
    def manifest_file(self) -> Path:
        return _blob(self.storage, self.manifest)

    def forget(self) -> None:
        """Nobody pulls it any more."""
        for digest in self.digests.values():
            _blob(self.storage, digest).unlink(missing_ok=True)
        shutil.rmtree(self.storage / "docker/registry/v2/repositories" / self.repository, ignore_errors=True)


def publish(storage: Path, host: str, rng: random.Random, weights: int) -> Published:
    """A model that nobody has seen before, with so many bytes of weights, at tag v1."""
    files = {
        "config.json": b'{"salt": "%x"}' % rng.randrange(1 << 64),
        "tokenizer.json": rng.randbytes(rng.randrange(1, 300_000)),
        WEIGHTS: rng.randbytes(weights + rng.randrange(1000)),
    }
    model = written("v1", [raw(name, content) for name, content in files.items()])
    repository = f"org/model-{rng.randrange(1 << 48):x}"
    _push(storage, repository, model)
    digests = {name: sha256(content) for name, content in files.items()}
    sizes = {name: len(content) for name, content in files.items()}
    return Published(f"{host}/{repository}:v1", repository, digests, sizes, storage, model.digest)


def _push(storage: Path, repository: str, model: Written) -> None:
    home = storage / "docker/registry/v2/repositories" / repository
    document = model.documents[-1]
    for digest, data in {**model.blobs, model.digest: document.data}.items():
        _write(_blob(storage, digest), data)
        _write(home / "_layers/sha256" / _hex(digest) / "link", digest.encode())
    _write(home / "_manifests/revisions/sha256" / _hex(model.digest) / "link", model.digest.encode())
    tag = home / "_manifests/tags" / model.name
    _write(tag / "index/sha256" / _hex(model.digest) / "link", model.digest.encode())
    _write(tag / "current/link", model.digest.encode())


def _blob(storage: Path, digest: str) -> Path:
    return storage / "docker/registry/v2/blobs/sha256" / _hex(digest)[:2] / _hex(digest) / "data"


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def is_it(snapshot: Path, model: Published) -> bool:
    """Whether a directory has every file of the model, byte for byte."""
    found = {file.name: f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}" for file in snapshot.iterdir()}
    return found == model.digests
