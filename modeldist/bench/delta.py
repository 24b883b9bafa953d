"""`python -m modeldist.bench delta`: what a new version of a model moves to a node that has the old one.

A safetensors model, and versions of it as they occur, each built and pulled as a user does, from an OCI layout. Beside
what moved: what the pieces of the chunk table alone would have saved, which have one size and lie at its multiples.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modeldist.bench.bytecode import as_installed
from modeldist.bench.options import count, file_options
from modeldist.bench.programs import ProgramFailed
from modeldist.bench.report import table
from modelpack.build import build
from modelpack.chunk_table import chunk_size_for
from modelpack.layout import OciLayout

_MIB = 1 << 20
LAYERS = 40
CHANGED = 0.05  # of the bytes
HEAD = ("the new version", "new bytes", "moved", "of it the index", "by pieces alone", "s")

Tensors = dict[str, bytes]
Files = dict[str, bytes]
"""By path in the model."""


@dataclass(frozen=True)
class Change:
    """`files` makes the new version of tensors."""

    name: str
    files: Callable[[Tensors], Files]


def main(arguments: list[str] | None = None) -> None:
    parser = file_options("delta", __doc__)
    parser.add_argument("--size", type=count, default=256, help="MiB of the model")
    options = parser.parse_args(arguments)
    as_installed()
    with tempfile.TemporaryDirectory(dir=options.directory, prefix="bench-delta-") as room:
        rows = measure(Path(room), options.size * _MIB, changes())
    print(f"`python -m modeldist.bench delta --size {options.size}`: shares of the new version's bytes\n")
    print(table(HEAD, rows))


def measure(room: Path, size: int, versions: Sequence[Change]) -> list[tuple[str, ...]]:
    """A row for each change."""
    first = tensors(size)
    layout = OciLayout.create(room / "layout")
    old = {"model.safetensors": safetensors(first)}
    _publish(room / "v0", layout, "v0", old)
    rows: list[tuple[str, ...]] = []
    for number, change in enumerate(versions, start=1):
        new = change.files(first)
        _publish(room / f"v{number}", layout, f"v{number}", new)
        store = room / f"store-{number}"
        _pull(store, f"oci-layout:{layout.path}:v0")
        done = _pull(store, f"oci-layout:{layout.path}:v{number}")
        whole = sum(map(len, new.values()))
        rows.append(
            (
                change.name,
                f"{_share(_new_bytes(first, new), whole)}",
                f"{_share(done['origin'] + done['index'], whole)}",
                f"{_share(done['index'], whole)}",
                f"{_share(_by_pieces(old, new), whole)}",
                f"{done['seconds']:.1f}",
            )
        )
    return rows


def changes() -> list[Change]:
    """Versions as they occur, most of them with a twentieth of their bytes new."""
    return [
        Change("2 of 40 layers trained", lambda old: _one(_trained(old))),
        Change("the same, with a longer header", lambda old: _one(_trained(old), {"trained": "further " * 100})),
        Change("2 of 42 layers added in the middle", lambda old: _one(_added(old))),
        Change("the tensors in another order", lambda old: _one(dict(reversed(old.items())))),
        Change("two files instead of one", _two_files),
        *(
            Change(f"runs of {run >> 10} KiB all over", lambda old, run=run: _one(_spread(old, run)))  # type: ignore[misc]
            for run in (1 << 20, 256 << 10, 64 << 10, 16 << 10, 4 << 10)
        ),
        Change("every weight a little", lambda old: _one({name: _stirred(data) for name, data in old.items()})),
    ]


def tensors(size: int) -> Tensors:
    """Of `size` bytes in all: of each layer some of several sizes, a norm of a few KiB among them."""
    drawn = random.Random(1)
    layer = size // LAYERS
    parts = {"norm": min(8192, layer // 100), "q": layer // 8, "k": layer // 8, "v": layer // 8, "up": layer // 4}
    parts["down"] = layer - sum(parts.values())
    return {
        f"layers.{number}.{name}": drawn.randbytes(count // 2 * 2)
        for number in range(LAYERS)
        for name, count in parts.items()
    }


def safetensors(held: Tensors, metadata: Mapping[str, str] | None = None) -> bytes:
    """The file."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    start = 0
    for name, data in held.items():
        header[name] = {"dtype": "BF16", "shape": [len(data) // 2], "data_offsets": [start, start + len(data)]}
        start += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + b"".join(held.values())


def _one(held: Tensors, metadata: Mapping[str, str] | None = None) -> Files:
    return {"model.safetensors": safetensors(held, metadata)}


def _two_files(held: Tensors) -> Files:
    names = list(held)
    halves = (names[: len(names) // 2], names[len(names) // 2 :])
    return {
        f"model-{number:05}-of-00002.safetensors": safetensors({name: held[name] for name in half})
        for number, half in enumerate(halves, start=1)
    }


def _trained(held: Tensors) -> Tensors:
    which = ("layers.11.", "layers.30.")
    return {name: os.urandom(len(data)) if name.startswith(which) else data for name, data in held.items()}


def _added(held: Tensors) -> Tensors:
    found: Tensors = {}
    for name, data in held.items():
        found[name] = data
        if name.startswith(("layers.11.", "layers.30.")):
            found[f"more.{name}"] = os.urandom(len(data))
    return found


def _spread(held: Tensors, run: int) -> Tensors:
    """Runs of new bytes, at even distances over all tensors, whatever the tensors' ends are."""
    whole = bytearray(b"".join(held.values()))
    for start in range(0, len(whole) - run, int(run / CHANGED)):
        whole[start : start + run] = os.urandom(run)
    found, at = {}, 0
    for name, data in held.items():
        found[name] = bytes(whole[at : at + len(data)])
        at += len(data)
    return found


def _stirred(data: bytes) -> bytes:
    """As a merged adapter does to all weights: the last bit of each changes for about half of them."""
    noise = int.from_bytes(os.urandom(len(data)), "little") & int.from_bytes(b"\x01\x00" * (len(data) // 2), "little")
    return (int.from_bytes(data, "little") ^ noise).to_bytes(len(data), "little")


def _new_bytes(old: Tensors, new: Files) -> int:
    """Bytes that no old tensor has where it lies: in 64s, counted exactly where tensors kept their names."""
    known: set[bytes] = set()
    for data in old.values():
        known.update(data[at : at + 64] for at in range(0, len(data), 64))
    total = 0
    for content in new.values():
        start = 8 + int.from_bytes(content[:8], "little")
        for entry in (each for name, each in json.loads(content[8:start]).items() if name != "__metadata__"):
            first, last = (start + offset for offset in entry["data_offsets"])
            total += sum(
                min(64, last - at) for at in range(first, last, 64) if content[at : min(at + 64, last)] not in known
            )
    return total


def _by_pieces(old: Files, new: Files) -> int:
    """Bytes of the pieces that are others than the old file's at the same place."""
    moved = 0
    for path, content in new.items():
        piece, before = chunk_size_for(len(content)), old.get(path, b"")
        if chunk_size_for(len(before)) != piece:
            before = b""
        for at in range(0, len(content), piece):
            part = content[at : at + piece]
            moved += len(part) * (part != before[at : at + piece])
    return moved


def _share(count: int, whole: int) -> str:
    return f"{100 * count / whole:.1f} %"


def _publish(folder: Path, layout: OciLayout, name: str, files: Files) -> None:
    folder.mkdir()
    for path, content in files.items():
        (folder / path).write_bytes(content)
    build(folder, layout, ref=name, environ={})


def _pull(store: Path, reference: str) -> dict[str, Any]:
    """What the command says of it. Raises ProgramFailed."""
    command = [sys.executable, "-m", "modeldist", "pull", "--json", "--no-agent", "--store", str(store), reference]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ProgramFailed(f"The pull of {reference} failed: {done.stderr.strip()[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found
