"""The files of a model as the rules see them: what is known without reading, and a way to read a little."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import BinaryIO

from modelpack.mediatypes import Encoding, LayerKind
from modelpack.safetensors_header import ReadRange, SafetensorsHeader
from modelpack.tensors.gguf import GgufHeader


class Unreadable(Exception):
    """A reader could not give bytes, and has added a finding that says why."""


@dataclass(slots=True)
class ModelledFile:
    """A file of the model: a raw layer, a file of a directory, or a member of an archive. `size` in bytes.

    `read_range(start, length)` gives exactly those bytes or raises Unreadable; None where the content is out of reach.
    `header` and `gguf` are filled by the rules for tensors.
    """

    path: str
    kind: LayerKind
    size: int
    read_range: ReadRange | None
    layer: int | None = None
    header: SafetensorsHeader | None = field(default=None, repr=False)
    gguf: GgufHeader | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """The last part of the path, in lower case."""
        return self.path.rpartition("/")[2].lower()

    def parameters(self) -> Counter[str]:
        """Elements of its tensors by type, as the file's format calls it; empty where no header was read."""
        counts: Counter[str] = Counter()
        if self.header is not None:
            counts.update(self.header.dtypes)
        for tensor in self.gguf.tensors if self.gguf else ():
            counts[tensor.dtype] += prod(tensor.shape)
        return counts

    @property
    def directory(self) -> str:
        return self.path.rpartition("/")[0]


@dataclass(frozen=True, slots=True)
class Archive:
    """A layer that unpacks to files. `open` streams it; None where it is too large to be read as a whole."""

    path: str
    kind: LayerKind
    encoding: Encoding
    size: int
    layer: int
    read_range: ReadRange
    open: Callable[[], BinaryIO] | None
    subtree: str = ""
