"""`python -m modeldist.bench start`: whole processes that have nothing to fetch: the help, and pulls of a model that is
already here, from a registry, a Hugging Face shaped repository and a URL.

The origin's own log says what each pull asked for and how many bytes of answers it got: none, since one HEAD tells
whether a reference still means what is here.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from modeldist.bench import machine
from modeldist.bench.bytecode import as_installed
from modeldist.bench.nginx import REPOSITORY, TAG, Nginx
from modeldist.bench.options import file_options
from modeldist.bench.programs import run_program
from modeldist.bench.report import table, write_section

HELP_BAR, HERE_BAR = 0.25, 0.3  # seconds of wall time
_FILES = {"config.json": 2 << 10, "tokenizer.json": 1 << 20, "model.safetensors": 8 << 20}  # bytes


@dataclass(frozen=True)
class Start:
    """Wall seconds of each run; what all of them together asked the origin for, and bytes of bodies it sent."""

    runs: tuple[float, ...]
    bar: float
    asked: tuple[str, ...] = ()
    body: int = 0


def main(arguments: list[str] | None = None) -> None:
    parser = file_options("start", __doc__)
    parser.set_defaults(repeat=9)
    options = parser.parse_args(arguments)
    print(found := machine.look().sentence(), flush=True)
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        starts = measure(Path(directory), options.repeat)
    text = _described(starts)
    print(text)
    if options.write:
        command = f"python -m modeldist.bench start --repeat {options.repeat}"
        write_section("start", f"## Starting\n`{command}`. {found}.\n\n{text}")


def measure(directory: Path, repeat: int) -> dict[str, Start]:
    """By command. Every command runs once before the runs that count: that one fetches the model."""
    as_installed()
    content = directory / "content"
    content.mkdir()
    for name, size in _FILES.items():
        (content / name).write_bytes(os.urandom(size))
    with Nginx(directory / "nginx", content, registry=True) as nginx:
        url = nginx.file_url("model.safetensors")
        pulls = {
            "pull, from a registry": (f"{nginx.host}/{REPOSITORY}:{TAG}", {}),
            "pull, from Hugging Face": (f"hf://{REPOSITORY}", {"HF_ENDPOINT": nginx.url}),
            "pull, from a URL": (url, {}),
        }
        starts = {"--help": Start(_runs(["--help"], {}, repeat), HELP_BAR)}
        for name, (reference, environment) in pulls.items():
            command = ["pull", "-q", "--no-agent", "--store", str(directory / "store"), reference]
            run_program([sys.executable, "-m", "modeldist", *command], environment)
            nginx.forget_log()
            runs = _runs(command, environment, repeat)
            asked = nginx.log()
            methods = tuple(sorted({request.method for request in asked}))
            starts[name] = Start(runs, HERE_BAR, methods, sum(request.body for request in asked))
    return starts


def _runs(arguments: list[str], environment: dict[str, str], repeat: int) -> tuple[float, ...]:
    command = [sys.executable, "-m", "modeldist", *arguments]
    return tuple(run_program(command, environment).seconds for _ in range(repeat))


def _described(starts: dict[str, Start]) -> str:
    rows = []
    for name, start in starts.items():
        median = statistics.median(start.runs)
        met = "met" if median < start.bar else "MISSED"
        asked = ", ".join(start.asked) or "nothing"
        rows.append(
            (
                f"`modeldist {name}`" if name.startswith("--") else name,
                f"{median:.3f}",
                f"{max(start.runs):.3f}",
                f"< {start.bar:g}: {met}",
                asked if name.startswith("pull") else "",
                f"{start.body}" if name.startswith("pull") else "",
            )
        )
    head = ("already here", "s, median", "s, worst", "bar", "asked for", "bytes of bodies")
    return table(head, rows)
