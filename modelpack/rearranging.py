"""A safetensors file in the order in which it is loaded, its tensors at the beginnings of pages.

The format allows no holes between tensors, but any order, and spaces after the header's JSON. So the header is filled
up to the end of a page; tensors whose bytes are whole pages come first, by name, as loaders ask for them (`keys()` is
sorted), each at the beginning of a page; then the others, by name.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import msgspec

from modelpack.safetensors_header import SafetensorsHeader

PAGE = 4096  # bytes, of every platform that modeldist runs on at the least
HUGE_PAGE = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Arrangement:
    """The bytes before the tensors, and where in the old file each tensor's [start, stop) is, in the new order."""

    head: bytes
    moves: tuple[tuple[int, int], ...]


def loading_jumps(header: SafetensorsHeader) -> int:
    """How often a loader that goes by name does not go on where the tensor before ended."""
    order = [tensor for _, tensor in sorted(header.tensors.items()) if tensor.start < tensor.end]
    return sum(later.start != earlier.end for earlier, later in pairwise(order))


def aligned_bytes(header: SafetensorsHeader, page: int = PAGE) -> int:
    """Bytes of the tensors that begin with a page."""
    return sum(tensor.end - tensor.start for tensor in header.tensors.values() if tensor.start % page == 0)


def arrange(header: SafetensorsHeader, *, align: int = PAGE) -> Arrangement | None:
    """The order of the file; None where it has it already. `align`: bytes, a power of two from 8 on, at a multiple of
    which the tensors begin. Raises ValueError."""
    if align < 8 or align & (align - 1):
        raise ValueError(f"{align} is no power of two from 8 on.")
    by_name = sorted(header.tensors.items())
    order = sorted(by_name, key=lambda item: (item[1].end - item[1].start) % min(align, PAGE) != 0)
    entries: dict[str, object] = {"__metadata__": header.metadata} if header.metadata else {}
    at = 0
    for name, tensor in order:
        size = tensor.end - tensor.start
        entries[name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": (at, at + size)}
        at += size
    if header.data_start % align == 0 and all(
        tensor.start - header.data_start == at
        for (_, tensor), at in zip(order, _offsets([tensor.end - tensor.start for _, tensor in order]), strict=True)
    ):
        return None
    text = msgspec.json.encode(entries)
    text += b" " * (-(8 + len(text)) % align)
    return Arrangement(len(text).to_bytes(8, "little") + text, tuple((tensor.start, tensor.end) for _, tensor in order))


def write_arranged(source: Path, target: Path, arrangement: Arrangement) -> None:
    """Make `target`, which must not exist, a copy of `source` in the new order. Raises OSError."""
    with source.open("rb", buffering=0) as old, target.open("xb", buffering=0) as new:
        at = new.write(arrangement.head)
        for start, stop in _joined(arrangement.moves):
            left = stop - start
            while left:
                done = os.copy_file_range(old.fileno(), new.fileno(), left, stop - left, at)
                if not done:
                    raise OSError(f"{source} was cut off while it was read")
                left, at = left - done, at + done


def _joined(moves: tuple[tuple[int, int], ...]) -> list[tuple[int, int]]:
    """Neighbours as one."""
    whole: list[tuple[int, int]] = []
    for start, stop in moves:
        if whole and whole[-1][1] == start:
            whole[-1] = (whole[-1][0], stop)
        else:
            whole.append((start, stop))
    return whole


def _offsets(sizes: list[int]) -> list[int]:
    found, at = [], 0
    for size in sizes:
        found.append(at)
        at += size
    return found
