"""`python -m modeldist.bench layout`: what `modeldist optimize` brings to a load from a cold page cache.

A safetensors model written as converters do that do not sort: layer by layer, in the order in which it is computed, in
two files. It is laid out anew, and cut for ranks, by the command, which loads each in turns with the original
([docs/optimize.md](../../docs/optimize.md)). The third has small tensors in no order at all.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from pathlib import Path

from modeldist.bench.bytecode import as_installed
from modeldist.bench.options import count, file_options
from modeldist.bench.programs import ProgramFailed

LAYERS, WIDTH, INNER, VOCABULARY, HEADS = 8, 2048, 5376, 8000, 16
SMALL = 64 << 10  # bytes of a tensor of the third model
_BLOCK = 1 << 20

Shapes = Mapping[str, tuple[int, ...]]


def main(arguments: list[str] | None = None) -> None:
    parser = file_options("layout", __doc__)
    parser.add_argument("--width", type=count, default=WIDTH, help="of the model")
    options = parser.parse_args(arguments)
    as_installed()
    with tempfile.TemporaryDirectory(dir=options.directory, prefix="bench-layout-") as room:
        for title, told in measure(Path(room), options.width, options.repeat):
            print(title, *(f"    {line}" for line in told), sep="\n", flush=True)


def measure(room: Path, width: int, runs: int) -> Iterator[tuple[str, list[str]]]:
    """What is measured, and the command's lines about it."""
    write_model(room / "model", width)
    write_small(room / "small", width)
    yield "another order, on pages", _optimized(room / "model", room / "ordered", runs)
    yield "files for ranks", _optimized(room / "model", room / "ranks", runs, "--ranks", "tp=4")
    yield "small tensors in no order", _optimized(room / "small", room / "sorted", runs)


def write_model(folder: Path, width: int) -> None:
    """Two files, layer by layer."""
    folder.mkdir()
    inner = INNER * width // WIDTH
    layers = [layer(number, width, inner) for number in range(LAYERS)]
    first: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (VOCABULARY, width)}
    second: dict[str, tuple[int, ...]] = {}
    for number, shapes in enumerate(layers):
        (first if number < LAYERS // 2 else second).update(shapes)
    second |= {"model.norm.weight": (width,), "lm_head.weight": (VOCABULARY, width)}
    for number, shapes in enumerate((first, second), start=1):
        _write(folder / f"model-{number:05}-of-00002.safetensors", shapes)
    config = {
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS,
        "hidden_size": width,
        "vocab_size": VOCABULARY,
        "tie_word_embeddings": False,
    }
    (folder / "config.json").write_text(json.dumps(config))


def layer(number: int, width: int, inner: int) -> Shapes:
    """In the order in which it is computed."""
    before = f"model.layers.{number}."
    return {
        f"{before}input_layernorm.weight": (width,),
        **{f"{before}self_attn.{part}_proj.weight": (width, width) for part in "qkvo"},
        f"{before}post_attention_layernorm.weight": (width,),
        f"{before}mlp.gate_proj.weight": (inner, width),
        f"{before}mlp.up_proj.weight": (inner, width),
        f"{before}mlp.down_proj.weight": (width, inner),
    }


def write_small(folder: Path, width: int) -> None:
    """About half as many bytes, each tensor of `SMALL`."""
    folder.mkdir()
    count = LAYERS * width * (4 * width + 3 * INNER * width // WIDTH) // SMALL
    names = [f"adapters.{number:06}.weight" for number in range(count)]
    random.Random(1).shuffle(names)
    _write(folder / "model.safetensors", dict.fromkeys(names, (SMALL // 2,)))


def _write(path: Path, shapes: Shapes) -> None:
    """Of BF16, in the order of `shapes`."""
    sizes = [2 * _count(shape) for shape in shapes.values()]
    stops = list(accumulate(sizes))
    header = {
        name: {"dtype": "BF16", "shape": shape, "data_offsets": [stop - size, stop]}
        for (name, shape), size, stop in zip(shapes.items(), sizes, stops, strict=True)
    }
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        left, block = stops[-1], os.urandom(_BLOCK)
        while left:
            left -= file.write(block[: min(left, _BLOCK)])


def _count(shape: Iterable[int]) -> int:
    count = 1
    for length in shape:
        count *= length
    return count


def _optimized(before: Path, after: Path, runs: int, *options: str) -> list[str]:
    """What the command says. Raises ProgramFailed."""
    command = [sys.executable, "-m", "modeldist", "optimize", str(before), "--into", str(after), "--runs", str(runs)]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ProgramFailed(f"Laying out {before} failed: {done.stderr.strip()[-2000:]}")
    return done.stderr.splitlines()


if __name__ == "__main__":
    main()
