"""A safetensors file in the order in which it is loaded, its tensors at the beginnings of pages.

The format allows no holes between tensors, but any order, and spaces after the header's JSON. So the header is filled
up to the end of a page; tensors whose bytes are whole pages come first, by name, as loaders ask for them (`keys()` is
sorted), each at the beginning of a page; then the others, by name.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import msgspec

from modelpack.safetensors_header import SafetensorsHeader

PAGE = 4096  # bytes, of every platform that modeldist runs on at the least
HUGE_PAGE = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Arrangement:
    """The bytes before the tensors, and where in the old file each tensor's [start, stop) is, in the new order."""

    head: bytes
    moves: tuple[tuple[int, int], ...]


class Move(NamedTuple):
    """Bytes [start, stop) of a file."""

    file: Path
    start: int
    stop: int


def loading_jumps(header: SafetensorsHeader) -> int:
    """How often a loader that goes by name does not go on where the tensor before ended."""
    return jumps([(tensor.start, tensor.end) for _, tensor in sorted(header.tensors.items())])


def jumps(ranges: Iterable[tuple[int, int]]) -> int:
    """How often one does not begin where the one before it ended."""
    return sum(later[0] != earlier[1] for earlier, later in pairwise(each for each in ranges if each[0] < each[1]))


def aligned_bytes(header: SafetensorsHeader, page: int = PAGE) -> int:
    """Bytes of the tensors that begin with a page."""
    return sum(tensor.end - tensor.start for tensor in header.tensors.values() if tensor.start % page == 0)


def arrange(header: SafetensorsHeader, *, align: int = PAGE) -> Arrangement | None:
    """The order of the file; None where it has it already. `align`: bytes, a power of two from 8 on, at a multiple of
    which the tensors begin. Raises ValueError."""
    order = loading_order({name: tensor.end - tensor.start for name, tensor in header.tensors.items()}, align)
    tensors = [(name, header.tensors[name]) for name in order]
    at = header.data_start
    stays = at % align == 0
    for _, tensor in tensors:
        stays &= tensor.start == at
        at += tensor.end - tensor.start
    if stays:
        return None
    entries = [(name, tensor.dtype, tensor.shape, tensor.end - tensor.start) for name, tensor in tensors]
    return Arrangement(
        head_of(entries, header.metadata, align), tuple((tensor.start, tensor.end) for _, tensor in tensors)
    )


def loading_order(sizes: Mapping[str, int], align: int) -> list[str]:
    """Names of tensors, whose bytes `sizes` has, in the order for a file. Raises ValueError of an `align` that is no
    power of two from 8 on."""
    if align < 8 or align & (align - 1):
        raise ValueError(f"{align} is no power of two from 8 on.")
    return sorted(sorted(sizes), key=lambda name: sizes[name] % min(align, PAGE) != 0)


def head_of(tensors: Iterable[tuple[str, str, tuple[int, ...], int]], metadata: Mapping[str, str], align: int) -> bytes:
    """The bytes before the tensors, a multiple of `align`; name, dtype, shape and bytes of each, in file order."""
    entries: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    at = 0
    for name, dtype, shape, size in tensors:
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": (at, at + size)}
        at += size
    text = msgspec.json.encode(entries)
    text += b" " * (-(8 + len(text)) % align)
    return len(text).to_bytes(8, "little") + text


def write_arranged(source: Path, target: Path, arrangement: Arrangement) -> None:
    """Make `target`, which must not exist, a copy of `source` in the new order. Raises OSError."""
    write_moved(arrangement.head, [Move(source, start, stop) for start, stop in arrangement.moves], target)


def write_moved(head: bytes, moves: Iterable[Move], target: Path) -> None:
    """Make `target`, which must not exist, of `head` and then those bytes of other files. Raises OSError."""
    with ExitStack() as opened, target.open("xb", buffering=0) as new:
        files: dict[Path, int] = {}
        at = new.write(head)
        for source, start, stop in _joined(moves):
            if source not in files:
                files[source] = opened.enter_context(source.open("rb", buffering=0)).fileno()
            left = stop - start
            while left:
                done = os.copy_file_range(files[source], new.fileno(), left, stop - left, at)
                if not done:
                    raise OSError(f"{source} was cut off while it was read")
                left, at = left - done, at + done


def _joined(moves: Iterable[Move]) -> list[Move]:
    """Neighbours as one."""
    whole: list[Move] = []
    for move in moves:
        if whole and (whole[-1].file, whole[-1].stop) == (move.file, move.start):
            whole[-1] = whole[-1]._replace(stop=move.stop)
        else:
            whole.append(move)
    return whole
