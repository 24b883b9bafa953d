"""Building a ModelPack beside reading and hashing the same files with plain threads, in one run, for one large file and
for eight of an eighth.

Both read from the page cache, each file's sha256 and the BLAKE3 digests of its chunks are computed, and as many threads
run as there are cores. What building adds is the layout: links, manifest, config, chunk table.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

from blake3 import blake3

from modeldist.bench.options import count, file_options
from modeldist.bench.report import table, write_section
from modelpack.build import build
from modelpack.chunk_table import chunk_size_for
from modelpack.layout import OciLayout

_BLOCK = 4 * 1024 * 1024  # bytes
_MIB = 1024 * 1024


def main(arguments: Sequence[str]) -> None:
    options = file_options("build", __doc__)
    options.add_argument("--size", type=count, default=4096, help="MiB in all")
    given = options.parse_args(arguments)
    rows = []
    for files in (1, 8):
        with tempfile.TemporaryDirectory(dir=given.directory, prefix="bench-build-") as room:
            rows.append(_row(Path(room), files, given.size // files, given.repeat))
    head = ("files", "sha256, s", "sha256 and BLAKE3, s", "build, s", "build / sha256 and BLAKE3", "build / sha256")
    text = (
        f"`python -m modeldist.bench build --size {given.size} --repeat {given.repeat}`, {_cores()} cores, medians; "
        f"the ratios are the medians of those in one round\n\n{table(head, rows)}"
    )
    print(text)
    if given.write:
        write_section("build", text)


def _row(room: Path, count: int, mib: int, repeat: int) -> tuple[str, ...]:
    model = room / "model"
    model.mkdir()
    files = [model / f"model-{number:05}-of-{count:05}.bin" for number in range(1, count + 1)]
    block = os.urandom(_MIB)
    for file in files:
        with file.open("wb") as opened:
            for number in range(mib):
                opened.write(number.to_bytes(8, "little") + block[8:])
            opened.flush()
            os.fsync(opened.fileno())
    rounds = [
        (
            _seconds(lambda: _hash(_sha256(file) for file in files)),
            _seconds(lambda: _hash(job for file in files for job in (_sha256(file), _blake3(file)))),
            _seconds(lambda number=number: build(model, OciLayout.create(room / f"layout-{number}"), environ={})),  # type: ignore[misc]
        )
        for number in range(repeat)
    ]
    plain, both, built = (median(times) for times in zip(*rounds, strict=True))
    return (
        f"{count} of {mib} MiB",
        f"{plain:.2f}",
        f"{both:.2f}",
        f"{built:.2f}",
        f"{median(built / both for _, both, built in rounds):.2f}",
        f"{median(built / plain for plain, _, built in rounds):.2f}",
    )


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _hash(jobs: Iterable[Callable[[], object]]) -> None:
    with ThreadPoolExecutor(_cores()) as pool:
        for each in [pool.submit(job) for job in jobs]:
            each.result()


def _sha256(file: Path) -> Callable[[], str]:
    def read() -> str:
        content, buffer = hashlib.sha256(), memoryview(bytearray(_BLOCK))
        with file.open("rb", buffering=0) as opened:
            while count := opened.readinto(buffer):
                content.update(buffer[:count])
        return content.hexdigest()

    return read


def _blake3(file: Path) -> Callable[[], list[bytes]]:
    def read() -> list[bytes]:
        chunk = chunk_size_for(file.stat().st_size)
        buffer = memoryview(bytearray(max(chunk, _BLOCK // chunk * chunk)))
        digests = []
        with file.open("rb", buffering=0) as opened:
            while count := opened.readinto(buffer):
                digests += [blake3(buffer[at : min(at + chunk, count)]).digest() for at in range(0, count, chunk)]
        return digests

    return read
