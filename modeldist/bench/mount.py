"""`python -m modeldist.bench mount`: sequential reads through a mount of a complete model, beside the plain file.

Plain is the store's own file. Direct is the mount as root has it. FUSE is what a user has who may not mount, and
everybody before the model is complete: here as root, so with the read-ahead that only root can set
(`--read-ahead 128`: without).

`disk`: nothing is in the page cache. `cached`: the store's file is; FUSE's own pages are not. `again`: that once more.
Reads are of 1 MiB into one buffer; the best of the runs counts, as other programs only ever make one slower.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modeldist.bench import machine
from modeldist.bench.options import count, file_options
from modeldist.bench.report import table, write_section
from modeldist.bench.single import write_random
from modeldist.mount.mount_table import OURS, mounted_at

MIB = 1 << 20
BAR = 0.7  # of the plain file's rate, from the disk and cached, where the kernel reads the store's file
NAME = "model.safetensors"
PATIENCE = 60.0  # seconds for a model on this disk to be complete

Rates = dict[str, dict[str, list[float]]]
"""Bytes/s of each run, by way and state."""


def main(arguments: list[str] | None = None) -> None:
    parser = file_options("mount", __doc__)
    parser.add_argument("--size", type=count, default=1024, help="MiB of the file")
    parser.add_argument("--read-ahead", type=int, metavar="KIB", help="set it for the FUSE mount")
    options = parser.parse_args(arguments)
    print(found := machine.look().sentence(), flush=True)
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        rates = measure(Path(directory).resolve(), options.size * MIB, options.repeat, options.read_ahead)
    text = described(rates)
    print(text)
    if options.write:
        command = f"python -m modeldist.bench mount --size {options.size} --repeat {options.repeat}"
        write_section("mount", f"## Through a mount\n`{command}`. {found}.\n\n{text}")


def measure(directory: Path, size: int, repeat: int, read_ahead: int | None = None) -> Rates:
    """In turns. The first mount, which fills the store, does not count."""
    content = directory / "content"
    content.mkdir()
    write_random(content / NAME, size)
    environment = {
        **os.environ,
        "MODELDIST_STORE": str(directory / "store"),
        "MODELDIST_SOCKET": str(directory / "none"),
    }
    rates: Rates = {way: {"disk": [], "cached": [], "again": []} for way in ("plain", "direct", "FUSE")}
    with _mounted(content, directory / "mount", environment):
        (stored,) = (path for path in (directory / "store/blobs").rglob("*") if path.is_file())
    _forget(stored)
    _read(stored)  # whatever is beneath this disk has seen it now
    for _ in range(repeat):
        for way, seen in rates.items():
            for state, passes in (("disk", ("disk",)), ("cached", ("cached", "again"))):
                with _file(way, stored, content, directory / "mount", environment, read_ahead) as file:
                    _forget(stored) if state == "disk" else _read(stored)
                    for each in passes:
                        seen[each].append(_read(file))
    return rates


@contextmanager
def _file(
    way: str, stored: Path, content: Path, directory: Path, environment: dict[str, str], read_ahead: int | None
) -> Iterator[Path]:
    if way == "plain":
        yield stored
        return
    with _mounted(content, directory, environment, *(["--no-direct"] if way == "FUSE" else [])):
        if read_ahead is not None and way == "FUSE":
            device = mounted_at(directory)[-1].device
            Path(f"/sys/class/bdi/{device}/read_ahead_kb").write_text(str(read_ahead))
        yield directory / NAME


@contextmanager
def _mounted(content: Path, directory: Path, environment: dict[str, str], *options: str) -> Iterator[None]:
    """Complete."""
    command = [sys.executable, "-m", "modeldist", "mount", f"file://{content}", str(directory), *options]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        if process.stdout.readline() != f"{directory}\n":
            sys.exit("the mount failed")
        try:
            (directory / NAME).open("rb").close()
            deadline = time.monotonic() + PATIENCE
            while not options and mounted_at(directory)[-1].type == OURS:
                if process.poll() is not None or time.monotonic() > deadline:
                    sys.exit("the mount does not become direct: run this as root")
                time.sleep(0.02)
            yield
        finally:
            process.terminate()


def _forget(path: Path) -> None:
    """Have the file out of the page cache."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fdatasync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


def _read(path: Path) -> float:
    """Bytes/s."""
    fd = os.open(path, os.O_RDONLY)
    try:
        buffer = bytearray(MIB)
        total, began = 0, time.perf_counter()
        while count := os.readv(fd, [buffer]):
            total += count
        return total / (time.perf_counter() - began)
    finally:
        os.close(fd)


def described(rates: Rates) -> str:
    """Markdown: the best of each, and whether the direct mount keeps the bar."""
    best = {way: {state: max(runs) for state, runs in seen.items()} for way, seen in rates.items()}
    states = ("disk", "cached", "again")
    rows = [
        (way, *(f"{seen[state] / 1e9:.2f} ({seen[state] / best['plain'][state]:.2f})" for state in states))
        for way, seen in best.items()
    ]
    worst = min(best["direct"][state] / best["plain"][state] for state in states)
    verdict = "kept" if worst >= BAR else "MISSED"
    head = table(("GB/s (of plain)", *states), rows)
    return (
        f"{head}\n\nA complete file reads at {worst:.2f} of the plain file's rate or more; {BAR} is wanted: {verdict}."
    )
