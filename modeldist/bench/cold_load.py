"""How long loading a model's safetensors files takes from a cold page cache, and what the loader waited for.

As safetensors does it: each file is mapped, each tensor copied out of it, in the order of their names. The cache is
emptied of these files before (posix_fadvise), which needs no privileges.
"""

from __future__ import annotations

import mmap
import os
import random
import resource
import statistics
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from modelpack.rearranging import PAGE, jumps
from modelpack.safetensors_header import read_header

_BLOCK = 8 << 20  # bytes of one read in the order of the file
_SEEKS = 32


class Reads(NamedTuple):
    """What a loader copies out of a file, in its order: bytes [start, stop)."""

    file: Path
    ranges: tuple[tuple[int, int], ...]


class Loading(msgspec.Struct, frozen=True):
    """One way of laying out. `seconds`: the median of `runs`; `predicted`: by the disk's rate and latency. `faults`
    that waited for the disk and bytes of `disk` read are of the last run; `jumps` are of a loader that goes by name.
    `aligned`: bytes of tensors that begin with a page, of `bytes`. Where a rank loads, `tensors` are what it copies."""

    files: int
    tensors: int
    bytes: int
    aligned: int
    jumps: int
    predicted: float
    seconds: float
    runs: tuple[float, ...]
    faults: int
    disk: int


def by_name(files: Sequence[Path]) -> list[Reads]:
    """All tensors. Raises OSError, InvalidSafetensors."""
    return [
        Reads(path, tuple((tensor.start, tensor.end) for _, tensor in sorted(read_header(path).tensors.items())))
        for path in files
    ]


def compare(before: Sequence[Reads], after: Sequence[Reads], runs: int = 3) -> tuple[Loading, Loading]:
    """Both layouts in turns, so that a slow minute of the machine hits both. Raises OSError, InvalidSafetensors."""
    rate, latency = _disk([reads.file for reads in before])
    found: tuple[list[tuple[float, int, int]], ...] = ([], [])
    for _ in range(runs):
        for reads, measured in zip((before, after), found, strict=True):
            measured.append(_load(reads))
    first, second = (
        _loading(reads, measured, rate, latency) for reads, measured in zip((before, after), found, strict=True)
    )
    return first, second


def _loading(
    wanted: Sequence[Reads], measured: Sequence[tuple[float, int, int]], rate: float, latency: float
) -> Loading:
    ranges = [range_ for reads in wanted for range_ in reads.ranges]
    size = sum(stop - start for start, stop in ranges) + sum(read_header(reads.file).data_start for reads in wanted)
    places = len(wanted) + sum(jumps(reads.ranges) for reads in wanted)
    return Loading(
        files=len(wanted),
        tensors=len(ranges),
        bytes=size,
        aligned=sum(stop - start for start, stop in ranges if start % PAGE == 0),
        jumps=places,
        predicted=size / rate + places * latency,
        seconds=statistics.median(seconds for seconds, _, _ in measured),
        runs=tuple(seconds for seconds, _, _ in measured),
        faults=measured[-1][1],
        disk=measured[-1][2],
    )


def _load(wanted: Sequence[Reads]) -> tuple[float, int, int]:
    """Seconds, page faults that waited for the disk, bytes that came from it."""
    for reads in wanted:
        _forget(reads.file)
    largest = max((stop - start for reads in wanted for start, stop in reads.ranges), default=0)
    target = memoryview(bytearray(largest))
    faults, disk = resource.getrusage(resource.RUSAGE_SELF).ru_majflt, _read_bytes()
    began = time.perf_counter()
    for path, ranges in wanted:
        header = read_header(path)
        if not ranges or path.stat().st_size == header.data_start:
            continue
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
            memoryview(mapped) as view,
        ):
            for start, stop in ranges:
                target[: stop - start] = view[start:stop]
    seconds = time.perf_counter() - began
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_majflt - faults, _read_bytes() - disk


def _disk(files: Sequence[Path]) -> tuple[float, float]:
    """Bytes/s in the order of a file, and seconds until a byte from elsewhere is there."""
    began, count = time.perf_counter(), 0
    target = memoryview(bytearray(_BLOCK))
    for path in files:
        _forget(path)
        with path.open("rb", buffering=0) as file:
            while got := file.readinto(target):
                count += got
    rate = max(1, count) / (time.perf_counter() - began)
    times = [0.0]
    draw = random.Random(1)
    for path in sorted(files, key=lambda path: -path.stat().st_size)[:1]:
        _forget(path)
        with path.open("rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
            for _ in range(_SEEKS):
                at = draw.randrange(max(1, path.stat().st_size // PAGE)) * PAGE
                began = time.perf_counter()
                os.pread(file.fileno(), PAGE, at)
                times.append(time.perf_counter() - began)
    return rate, statistics.median(times)


def _forget(path: Path) -> None:
    """Have the page cache give the file up: it must be on the disk first."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _read_bytes() -> int:
    """That this process had the disk read; 0 where the kernel does not tell."""
    with suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/self/io").read_text().partition("\nread_bytes: ")[2].split()[0])
    return 0
