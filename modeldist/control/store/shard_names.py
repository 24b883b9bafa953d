"""What people call a shard: of which model it is, and which file there. Pure.

A swarm knows digests alone. The names come from artifacts as they are resolved and read, and are bounded: of many
models those that were asked for last have them, of a very large one its largest files.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import nlargest
from typing import NamedTuple

import msgspec

from modeldist.artifact import Digest

MOST_SHARDS = 50_000  # some 15 MB
MOST_OF_ONE = 10_000


class ShardName(NamedTuple):
    """`model`: the artifact's digest; `reference`: as somebody asked for it, where that is known. `path`: of the first
    file that the shard is; None of what is no file of the model's."""

    model: Digest
    reference: str
    path: str | None


class NamedFile(msgspec.Struct, frozen=True):
    """Of an `ArtifactFile`, what names need."""

    path: str
    digest: Digest
    size: int


class NamedIndex(msgspec.Struct, frozen=True):
    digest: Digest


class NamedArtifact(msgspec.Struct, frozen=True):
    """Of an `Artifact`, what names need: read from its document without the rest."""

    digest: Digest
    files: tuple[NamedFile, ...]
    index: NamedIndex | None = None


@dataclass(slots=True)
class _Model:
    reference: str
    paths: dict[Digest, str | None]


class ShardNames:
    """`most` and `of_one` in shards."""

    def __init__(self, most: int = MOST_SHARDS, of_one: int = MOST_OF_ONE) -> None:
        self._most = most
        self._of_one = of_one
        self._models: OrderedDict[Digest, _Model] = OrderedDict()  # that was asked for last, last
        self._model_of: dict[Digest, Digest] = {}
        self._size = 0

    def __contains__(self, model: Digest) -> bool:
        return model in self._models

    @property
    def full(self) -> bool:
        return self._size >= self._most

    def of(self, shard: Digest) -> ShardName | None:
        if (model := self._model_of.get(shard)) is None:
            return None
        known = self._models[model]
        return ShardName(model, known.reference, known.paths[shard])

    def asked(self, reference: str, model: Digest) -> bool:
        """Somebody asked for a model; False where its shards are not known yet: `learn` them."""
        if (known := self._models.get(model)) is None:
            return False
        if not _pinned(reference):
            known.reference = reference
        if next(reversed(self._models)) != model:
            self._models.move_to_end(model)
            self._model_of.update(dict.fromkeys(known.paths, model))
        return True

    def learn(self, reference: str, artifact: NamedArtifact, *, before: bool = False) -> None:
        """The names of a model's shards. `before`: it was asked for before all that are known."""
        known = _Model(reference, dict(self._paths(artifact)))
        self._forget(artifact.digest)
        self._models[artifact.digest] = known
        self._size += len(known.paths)
        if before:
            self._models.move_to_end(artifact.digest, last=False)
            for shard in known.paths:
                self._model_of.setdefault(shard, artifact.digest)
        else:
            self._model_of.update(dict.fromkeys(known.paths, artifact.digest))
        while self._size > self._most:
            self._forget(next(iter(self._models)))

    def _paths(self, artifact: NamedArtifact) -> Iterator[tuple[Digest, str | None]]:
        if artifact.index is not None:
            yield artifact.index.digest, None
        files = artifact.files
        if len(files) > self._of_one:
            files = tuple(nlargest(self._of_one, files, key=lambda file: file.size))
        for file in reversed(files):  # of files with the same content the first
            yield file.digest, file.path

    def _forget(self, model: Digest) -> None:
        if (known := self._models.pop(model, None)) is None:
            return
        self._size -= len(known.paths)
        for shard in known.paths:
            if self._model_of.get(shard) == model:
                del self._model_of[shard]


def _pinned(reference: str) -> bool:
    return "@sha256:" in reference
