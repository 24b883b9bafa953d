"""Which tensors an arriving model has, and where their bytes are."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from modeldist.arriving.file import ArrivingFile
from modeldist.arriving.model import ArrivingModel
from modeldist.errors import IntegrityError, Unsupported
from modelpack.errors import InvalidSafetensors
from modelpack.safetensors_header import FIRST_READ, SafetensorsHeader, Tensor, parse_header
from modelpack.tensors.slices import RANKS_KEY, SliceOf, slices_of

SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Place:
    """A tensor: its bytes are those `ranges` of the file. `shape` is that of what comes, `whole` that of the tensor;
    they differ where a rank was selected and loads some rows: `rows` of the first dimension, half-open, one below the
    other."""

    name: str
    file: ArrivingFile
    dtype: str
    shape: tuple[int, ...]
    whole: tuple[int, ...]
    ranges: tuple[tuple[int, int], ...]
    rows: tuple[tuple[int, int], ...] = ()

    @property
    def size(self) -> int:
        """Bytes that come."""
        return sum(stop - start for start, stop in self.ranges)


class Weights:
    """The safetensors files of a model. `files`: a glob of their paths, or some of them; by default those that are in
    no directory or, where there are none, all. Raises Unsupported where there are none."""

    def __init__(self, model: ArrivingModel, files: str | Collection[str] | None = None) -> None:
        self.model = model
        found = [file for path, file in model.files.items() if path.endswith(SUFFIX)]
        if isinstance(files, str):
            chosen = [file for file in found if fnmatchcase(file.path, files)]
        elif files is not None:
            chosen = [file for file in found if file.path in files]
        else:
            chosen = [file for file in found if "/" not in file.path] or found
        if not chosen:
            raise Unsupported(
                f"{model.reference} has no safetensors files{f' like {files}' if isinstance(files, str) else ''}.",
                remedy="Pull it instead (`modeldist pull`), and load it with what knows its format.",
            )
        self.files = tuple(chosen)
        for file in chosen:
            file.hold()
        self._headers: dict[str, SafetensorsHeader] = {}
        self._cut: dict[str, str] = {}  # tensors of files for ranks: by name, the file

    def want_headers(self) -> None:
        """Before all else."""
        self.model.want((file, 0, min(file.size, 8 + FIRST_READ)) for file in self.files)

    def header(self, file: ArrivingFile) -> SafetensorsHeader:
        """Waits for it. Raises as `ArrivingFile.wait`, and IntegrityError where it is none."""
        header = self._headers.get(file.path)
        if header is None:

            def read(start: int, length: int) -> bytes:
                file.wait(start, start + length)
                return os.pread(file.fd, length, start)

            try:
                header = self._headers[file.path] = parse_header(read, file.size, name=file.path)
            except InvalidSafetensors as error:
                raise IntegrityError(error.message, remedy=error.remedy) from error
        return header

    def places(self, file: ArrivingFile) -> Iterator[Place]:
        """Its tensors in file order; without those of which nothing was selected. Raises IntegrityError where the file
        contradicts itself, Unsupported where it was cut for other ranks than one before it."""
        header = self.header(file)
        try:
            slices = slices_of(header, file.path)
        except InvalidSafetensors as error:
            raise IntegrityError(error.message, remedy=error.remedy) from error
        for name, tensor in header.tensors.items():
            if RANKS_KEY in header.metadata and (other := self._cut.setdefault(name, file.path)) != file.path:
                raise Unsupported(
                    f"{other} and {file.path} have parts of {name[:120]!r}, for several ranks of "
                    f"{header.metadata[RANKS_KEY][:40]}.",
                    remedy="Choose one rank: rank=…",
                )
            if (place := _place(name, file, tensor, slices.get(name))) is not None:
                yield place

    def all(self) -> dict[str, Place]:
        """By name, in the order of files, and in each in file order. Waits for all headers. Raises Unsupported where
        two files have tensors of one name."""
        found: dict[str, Place] = {}
        for file in self.files:
            for place in self.places(file):
                if place.name in found:
                    raise Unsupported(
                        f"{file.path} and {found[place.name].file.path} both have a tensor {place.name[:120]!r}.",
                        remedy="Choose one of them: files=…",
                    )
                found[place.name] = place
        return found

    def metadata(self) -> dict[str, str]:
        """Of all files; the first that says something counts."""
        merged: dict[str, str] = {}
        for file in self.files:
            merged = {**self.header(file).metadata, **merged}
        return merged


def _place(name: str, file: ArrivingFile, tensor: Tensor, part: SliceOf | None) -> Place | None:
    whole = ((tensor.start, tensor.end),)
    empty = tensor.start == tensor.end  # it is here, whatever was selected
    if empty or not file.ranges or any(start <= tensor.start and tensor.end <= stop for start, stop in file.ranges):
        if part is None:
            return Place(name, file, tensor.dtype, tensor.shape, tensor.shape, whole)
        return Place(name, file, tensor.dtype, tensor.shape, part.shape, whole, part.rows)
    if not tensor.shape or (tensor.end - tensor.start) % tensor.shape[0]:
        return None  # of which nobody selects rows
    row = (tensor.end - tensor.start) // tensor.shape[0]
    rows: list[tuple[int, int]] = []
    for start, stop in file.ranges:
        first = -(-(max(start, tensor.start) - tensor.start) // row)
        last = (min(stop, tensor.end) - tensor.start) // row
        if first < last:
            rows.append((first, last))
    if not rows:
        return None
    ranges = tuple((tensor.start + first * row, tensor.start + last * row) for first, last in rows)
    count = sum(last - first for first, last in rows)
    return Place(name, file, tensor.dtype, (count, *tensor.shape[1:]), tensor.shape, ranges, tuple(rows))
