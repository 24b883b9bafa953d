"""Which files of a snapshot are not whole: their holes read as zeros, so every look at the snapshot must know of them.

`<repository>/selections/<revision>.json` counts; the same is in the snapshot, as `.modeldist-selection.json`, for
programs that want to know:

    {"format_version": 1, "artifact": "sha256:…", "files": {path: {"size": bytes, "ranges": [[start, stop], …]}}}

`ranges` are half-open and there; the rest of `size` is not. Files that are not named are whole. A snapshot of whole
files has no such file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from modeldist.artifact import Digest, united

FORMAT = 1
MARKER = ".modeldist-selection.json"


class SparseFile(msgspec.Struct, frozen=True):
    """`size` of the whole file, and which bytes of it are there."""

    size: int
    ranges: tuple[tuple[int, int], ...]

    @property
    def bytes(self) -> int:
        """How many are there."""
        return sum(stop - start for start, stop in self.ranges)

    def covers(self, ranges: tuple[tuple[int, int], ...]) -> bool:
        """Whether these are there; never for none, which means all."""
        return bool(ranges) and united(self.ranges, ranges) == self.ranges


class Selection(msgspec.Struct, frozen=True):
    """The sparse files of one snapshot, by path."""

    format_version: int
    artifact: Digest
    files: Mapping[str, SparseFile]


_decoder = msgspec.json.Decoder(Selection)


def encode(artifact: Digest, files: Mapping[str, SparseFile]) -> bytes:
    return msgspec.json.encode(Selection(FORMAT, artifact, dict(sorted(files.items()))))


def read(path: Path) -> Mapping[str, SparseFile]:
    """None at all where there is no such file. One that cannot be read is no leave to take holes for content: raises
    OSError, msgspec.DecodeError."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return {}
    return _decoder.decode(data).files
