"""`python -m modeldist.bench small-files`: a thousand small files and two large ones, beside their bytes alone.

"Alone" is a repository of two files that hold the same bytes: what is left of the ratio is what files cost.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from modeldist.bench import machine
from modeldist.bench.nginx import REPOSITORY, Nginx
from modeldist.bench.options import count, file_options
from modeldist.bench.report import table, write_section
from modeldist.bench.rivals import hf_download, modeldist
from modeldist.bench.runs import Sample, in_turns
from modeldist.bench.single import MIB, write_random

SMALL = 8 * 1024  # bytes of a small file
WITH_FILES, ALONE = "modeldist, all files", "modeldist, bytes alone"


def main(arguments: list[str] | None = None) -> None:
    parser = file_options("small-files", __doc__)
    parser.add_argument("--files", type=count, default=1000, help="small files, 8 KiB each")
    parser.add_argument("--large", type=count, default=2048, help="MiB of each of the two large files")
    parser.add_argument("--rivals", action="store_true", help="hf download too")
    options = parser.parse_args(arguments)
    print(found := machine.look().sentence(), flush=True)
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        samples = measure(
            Path(directory), options.files, options.large * MIB, options.repeat, with_rivals=options.rivals
        )
    text = _described(samples)
    print(text)
    if options.write:
        command = f"python -m modeldist.bench small-files --files {options.files} --large {options.large}"
        about = f"{options.files} files of {SMALL // 1024} KiB and two of {options.large} MiB."
        write_section("small-files", f"## Many small files\n{about} `{command}`. {found}.\n\n{text}")


def measure(directory: Path, files: int, large: int, repeat: int, *, with_rivals: bool) -> dict[str, Sample]:
    """Samples by contender."""
    mixed, alone = directory / "mixed", directory / "alone"
    for place, size in ((mixed, large), (alone, large + files * SMALL // 2)):
        place.mkdir()
        for name in ("model-1.safetensors", "model-2.safetensors"):
            write_random(place / name, size)
    for index in range(files):
        (mixed / f"tokenizer-{index:04}.json").write_bytes(os.urandom(SMALL))
    with Nginx(directory / "nginx-1", mixed) as many, Nginx(directory / "nginx-2", alone) as few:
        programs = [
            modeldist(ALONE, f"hf://{REPOSITORY}", HF_ENDPOINT=few.url),
            modeldist(WITH_FILES, f"hf://{REPOSITORY}", HF_ENDPOINT=many.url),
        ]
        if with_rivals:
            programs.append(hf_download(many))
        runs = {one.name: one.into(directory) for one in programs if one.installed}
        return in_turns(runs, repeat, size=2 * large)


def _described(samples: dict[str, Sample]) -> str:
    alone = samples[ALONE].seconds
    rows = [
        (name, f"{sample.seconds:.2f}", f"{sample.cpu:.2f}", f"{sample.spread:.0%}", f"{sample.seconds / alone:.2f}")
        for name, sample in samples.items()
    ]
    return table(("", "s", "CPU s", "spread", "÷ alone"), rows)
