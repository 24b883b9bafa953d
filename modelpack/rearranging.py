"""A safetensors file in the order in which it is loaded, its tensors at the beginnings of pages.

The format allows no holes between tensors, but any order, and spaces after the header's JSON. So the header is filled
up to the end of a page; tensors whose bytes are whole pages come first, by name, as loaders ask for them (`keys()` is
sorted), each at the beginning of a page; then the others, by name.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import msgspec

from modelpack.safetensors_header import SafetensorsHeader

PAGE = 4096  # bytes, of every platform that modeldist runs on at the least
HUGE_PAGE = 2 * 1024 * 1024
_STEP = 4 << 20  # bytes through memory where the kernel copies none


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
    """Make `target`, which must not exist, of `head` and then those bytes of other files. Raises OSError that names the
    file."""
    with ExitStack() as opened, target.open("xb", buffering=0) as new:
        files: dict[Path, int] = {}
        at = _written(new.fileno(), head, 0, target)
        for move in _joined(moves):
            if move.file not in files:
                files[move.file] = opened.enter_context(move.file.open("rb", buffering=0)).fileno()
            left = move
            while left.start < left.stop:
                done = _copied(files[move.file], new.fileno(), left, at, target)
                if not done:
                    raise OSError(errno.EIO, "it was cut off while it was read", str(move.file))
                left, at = left._replace(start=left.start + done), at + done


def _copied(source: int, new: int, move: Move, at: int, target: Path) -> int:
    """How many of the bytes of `move` are in the new file now: by the kernel where it can, as within one filesystem."""
    with suppress(OSError):  # in memory it shows of which file it is
        return os.copy_file_range(source, new, move.stop - move.start, move.start, at)
    try:
        got = os.pread(source, min(_STEP, move.stop - move.start), move.start)
    except OSError as error:
        raise _named(error, move.file) from None
    return _written(new, got, at, target)


def _written(new: int, data: bytes, at: int, target: Path) -> int:
    """How many bytes: all of them. A disk that gets full takes some first."""
    left = memoryview(data)
    try:
        while left:
            done = os.pwrite(new, left, at)
            left, at = left[done:], at + done
    except OSError as error:
        raise _named(error, target) from None
    return len(data)


def _named(error: OSError, file: Path) -> OSError:
    return OSError(error.errno, error.strerror, str(file))


def _joined(moves: Iterable[Move]) -> list[Move]:
    """Neighbours as one."""
    whole: list[Move] = []
    for move in moves:
        if whole and (whole[-1].file, whole[-1].stop) == (move.file, move.start):
            whole[-1] = whole[-1]._replace(stop=move.stop)
        else:
            whole.append(move)
    return whole
