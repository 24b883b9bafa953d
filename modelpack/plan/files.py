"""The files of a model as a plan is made from them, and as it names them."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from modelpack.artifact import ModelArtifact
from modelpack.filekinds import kind_of
from modelpack.mediatypes import Encoding, LayerKind
from modelpack.plan.selection import Selection

Ranges = tuple[tuple[int, int], ...]
"""Half-open ranges of bytes [start, stop), in order and apart from each other. Empty: the whole file."""


class ListedFile(msgspec.Struct, frozen=True):
    """A file that a model has. `size` in bytes; `path` of an archive is only a label; `sources` are where it can be
    read, as the lister writes that."""

    path: str
    digest: str
    size: int
    kind: LayerKind
    encoding: Encoding = "raw"
    sources: tuple[str, ...] = ()


class SeenHeader(msgspec.Struct, frozen=True):
    """The first `length` bytes of a weight file as they were when the plan was made. A plan of ranges holds good only
    for a file that begins so, which whoever fetches them can tell when those bytes are there and proven."""

    length: int
    digest: str


class PlannedFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file of which something is needed: all of it where `ranges` is empty. `header`: what ranges were planned by."""

    path: str
    digest: str
    size: int
    kind: LayerKind
    encoding: Encoding = "raw"
    ranges: Ranges = ()
    sources: tuple[str, ...] = ()
    header: SeenHeader | None = None

    @property
    def needed(self) -> int:
        """Bytes."""
        return sum(stop - start for start, stop in self.ranges) if self.ranges else self.size


class FetchPlan(msgspec.Struct, frozen=True):
    """Which bytes of one model are needed. `digest` pins it; `size` is all of it, `notes` are sentences about what was
    left out or could not be."""

    reference: str
    digest: str
    selection: Selection
    files: tuple[PlannedFile, ...]
    size: int
    notes: tuple[str, ...] = ()

    @property
    def needed(self) -> int:
        """Bytes; of files with the same content, the most that one of them needs."""
        most: dict[str, int] = {}
        for file in self.files:
            most[file.digest] = max(most.get(file.digest, 0), file.needed)
        return sum(most.values())


def listed_files(artifact: ModelArtifact, sources: tuple[str, ...] = ()) -> tuple[ListedFile, ...]:
    """The layers of a ModelPack artifact. `sources`: where its blobs can be read."""
    return tuple(
        ListedFile(file.path, file.descriptor.digest, file.descriptor.size, file.kind, file.encoding, sources)
        for file in artifact.files
    )


def listed_names(files: Iterable[tuple[str, str, int]]) -> tuple[ListedFile, ...]:
    """(path, digest, size) of a place that says no kinds, such as a repository of the Hugging Face Hub."""
    return tuple(ListedFile(path, digest, size, kind_of(path.rpartition("/")[2], size)) for path, digest, size in files)


def total_size(files: Iterable[ListedFile]) -> int:
    """Bytes, the same content counted once."""
    return sum({file.digest: file.size for file in files}.values())
