"""`python -m modeldist.bench single`: one node, no peers, one file from nginx on loopback, beside curl, aria2c, hf.

The same file as a URL and as a Hugging Face shaped repository. Only modeldist (and hf, which does not) could check a
digest: its sha256 is part of its time, and so is the sync to disk that the others leave to the kernel.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from modeldist.bench import machine
from modeldist.bench.nginx import REPOSITORY, Nginx
from modeldist.bench.options import count, file_options
from modeldist.bench.report import table, write_section
from modeldist.bench.rivals import Program, aria2c, curl, hf_download, modeldist
from modeldist.bench.runs import Sample, in_turns

MIB = 1 << 20


def main(arguments: list[str] | None = None) -> None:
    parser = file_options("single", __doc__)
    parser.add_argument("--size", type=count, default=1024, help="MiB of the file")
    options = parser.parse_args(arguments)
    print(found := machine.look().sentence(), flush=True)
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        samples, missing = measure(Path(directory), options.size * MIB, options.repeat)
    text = _described(samples, missing, options.size * MIB)
    print(text)
    if options.write:
        command = f"python -m modeldist.bench single --size {options.size} --repeat {options.repeat}"
        write_section("single", f"## One node, no peers\n`{command}`. {found}.\n\n{text}")


def measure(directory: Path, size: int, repeat: int) -> tuple[dict[str, Sample], list[str]]:
    """Samples by contender, and what is missing here."""
    content = directory / "content"
    content.mkdir()
    write_random(content / "model.safetensors", size)
    with Nginx(directory / "nginx", content) as nginx:
        url, digest = nginx.file_url("model.safetensors"), nginx.files[0].sha256
        programs = [
            curl(url),
            aria2c(url),
            modeldist("modeldist http", f"{url}#sha256={digest}"),
            hf_download(nginx),
            modeldist("modeldist hf", f"hf://{REPOSITORY}", HF_ENDPOINT=nginx.url),
        ]
        runs = {program.name: program.into(directory) for program in programs if program.installed}
        return in_turns(runs, repeat, size=size), missing(programs)


def missing(programs: list[Program]) -> list[str]:
    return [program.name for program in programs if not program.installed]


def write_random(path: Path, size: int) -> None:
    """A file of random bytes that repeat every 4 MiB: nothing here compresses or deduplicates."""
    block = os.urandom(4 * MIB)
    with path.open("wb") as file:
        for position in range(0, size, len(block)):
            file.write(block[: size - position])


def _described(samples: dict[str, Sample], missing: list[str], size: int) -> str:
    rivals = [sample.seconds for name, sample in samples.items() if not name.startswith("modeldist")]
    rows = [
        (
            name,
            f"{sample.seconds:.2f}",
            f"{size / sample.seconds / 1e9:.2f}",
            f"{sample.cpu / size * 1e9:.2f}",
            f"{sample.peak / MIB:.0f}",
            f"{sample.spread:.0%}",
            f"{sample.seconds / min(rivals):.2f}" if rivals else "",
        )
        for name, sample in samples.items()
    ]
    head = (f"{size / MIB:.0f} MiB", "s", "GB/s", "CPU s/GB", "peak MiB", "spread", "÷ fastest rival")
    return table(head, rows) + (f"\n\nMissing here: {', '.join(missing)}." if missing else "")
