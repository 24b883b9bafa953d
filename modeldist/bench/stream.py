"""`python -m modeldist.bench stream`: tensors while the model arrives, beside a pull that is loaded when it has ended.

The model comes from nginx over a link whose rate is shaped so that the pull alone takes as long as the load alone; both
are printed. Loading is what an engine on the CPU does: each tensor into memory of its own, widened from float16 to
float32, by safetensors from the snapshot (in the page cache, where the pull has just put it), or by `modeldist.stream`.
Each is a program of its own, whose start counts. Tensors of the stream are compared, bit by bit, with the snapshot's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from modeldist.bench import machine
from modeldist.bench.memory import kept_at_hand
from modeldist.bench.nginx import REPOSITORY, Nginx
from modeldist.bench.options import count, file_options
from modeldist.bench.programs import ProgramFailed
from modeldist.bench.report import table, write_section
from modeldist.bench.shaped_link import shaped_link

MIB = 1 << 20
LAST_BAR, FIRST_BAR = 0.65, 0.10
FILES = 4
_ROW = 4096  # elements
_TENSORS = (2, 24, 24, 24, 24, 64, 64, 30)  # MiB; in these proportions, as layers have them


@dataclass(frozen=True)
class Round:
    """Seconds."""

    pull: float
    load: float
    first: float
    last: float
    complete: float

    @property
    def apart(self) -> float:
        return self.pull + self.load


def main(arguments: list[str] | None = None) -> None:
    parser = file_options("stream", __doc__)
    parser.add_argument("--size", type=count, default=2048, help="MiB of the model")
    parser.add_argument(
        "--rate", type=float, help="MB/s of the link; default: such that the pull is as slow as the load"
    )
    options = parser.parse_args(arguments)
    print(found := machine.look().sentence(), flush=True)
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        rounds, rate, tensors = measure(Path(directory), options.size * MIB, options.repeat, options.rate)
    text = _described(rounds, rate, tensors, options.size)
    print(text)
    if options.write:
        command = f"python -m modeldist.bench stream --size {options.size} --repeat {options.repeat}"
        write_section("stream", f"## Loading while it arrives\n`{command}`. {found}.\n\n{text}")


def measure(directory: Path, size: int, repeat: int, rate: float | None) -> tuple[list[Round], float, int]:
    """The rounds, the link's rate in bytes/s, and how many tensors there are."""
    content = directory / "content"
    content.mkdir()
    tensors = write_model(content, size)
    with Nginx(directory / "nginx", content) as nginx:
        if rate is None:
            with kept_at_hand(4 * size) as make_memory:
                _pull(directory / "calibration", nginx.port)
                make_memory()
                rate = size / _load(directory / "calibration") / 1e6
            _remove(directory / "calibration")
        rounds = []
        with shaped_link(nginx.port, rate * 1e6) as port, kept_at_hand(4 * size) as make_memory:
            for number in range(repeat):
                apart, streamed = directory / f"apart{number}", directory / f"streamed{number}"
                os.sync()
                make_memory()
                pull = _pull(apart, port)
                make_memory()
                load = _load(apart)
                _remove(apart)
                os.sync()
                make_memory()
                rounds.append(_streamed(streamed, port, pull, load, tensors))
                _remove(streamed)
                print(f"  {rounds[-1]}", file=sys.stderr, flush=True)
    return rounds, rate * 1e6, tensors


def write_model(folder: Path, size: int) -> int:
    """Files of float16 tensors, finite ones; how many tensors."""
    import numpy as np
    from safetensors.numpy import save_file

    rng = np.random.default_rng(1)
    unit, count = size / FILES / sum(_TENSORS) / MIB, 0
    for number in range(FILES):
        tensors = {}
        for place, share in enumerate(_TENSORS):
            rows = max(1, round(share * unit * MIB / 2 / _ROW))
            bits = rng.integers(0, 0x7C00, (rows, _ROW), dtype=np.uint16)
            tensors[f"model.layers.{number}.{place}.weight"] = bits.view(np.float16)
        save_file(tensors, folder / f"model-{number + 1:05}-of-{FILES:05}.safetensors")
        count += len(tensors)
    return count


def _environment(store: Path, port: int) -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MODELDIST_")}
    own = {"MODELDIST_STORE": str(store), "MODELDIST_SOCKET": str(store / "none.sock")}
    return {**environment, **own, "HF_ENDPOINT": f"http://127.0.0.1:{port}"}


def _pull(store: Path, port: int) -> float:
    began = time.time()
    _run(["-m", "modeldist", "pull", "-q", "--no-agent", f"hf://{REPOSITORY}"], _environment(store, port))
    return time.time() - began


def _load(store: Path) -> float:
    (snapshot,) = (path.parent for path in store.glob("hub/*/snapshots/*/model-00001*"))
    answer = json.loads(_run(["-m", "modeldist.bench.loading", "load", str(snapshot), repr(time.time())], {}))
    return float(answer["last"])


def _streamed(store: Path, port: int, pull: float, load: float, tensors: int) -> Round:
    command = ["-m", "modeldist.bench.loading", "stream", f"hf://{REPOSITORY}", repr(time.time())]
    answer = json.loads(_run(command, _environment(store, port)))
    if (answer["tensors"], answer["same"], answer["left"]) != (tensors, tensors, 0):
        raise ProgramFailed(f"The stream gave other tensors than the snapshot has: {answer}.", remedy="Report it.")
    return Round(pull, load, answer["first"], answer["last"], answer["complete"])


def _run(arguments: list[str], environment: dict[str, str]) -> str:
    command = [sys.executable, *arguments]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ProgramFailed(f"{arguments} failed: {done.stderr[-2000:]}", remedy="Run it by hand to see why.")
    return done.stdout


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder)


def _described(rounds: list[Round], rate: float, tensors: int, size: int) -> str:
    pull, load = median(r.pull for r in rounds), median(r.load for r in rounds)
    first, last = median(r.first / r.apart for r in rounds), median(r.last / r.apart for r in rounds)
    rows = [
        ("pull alone", f"{pull:.2f}", "", ""),
        ("load alone", f"{load:.2f}", "", ""),
        ("pull, then load", f"{pull + load:.2f}", "1.00", ""),
        _row("stream, first tensor", median(r.first for r in rounds), first, FIRST_BAR),
        _row("stream, last tensor", median(r.last for r in rounds), last, LAST_BAR),
        ("stream, snapshot complete", f"{median(r.complete for r in rounds):.2f}", "", ""),
    ]
    head = (f"{size} MiB at {rate / 1e6:.0f} MB/s", "s, median", "÷ pull, then load", "bar")
    same = f"All {tensors} tensors, in each of {len(rounds)} rounds, were bit by bit those of the snapshot."
    return f"{table(head, rows)}\n\n{same}"


def _row(name: str, seconds: float, ratio: float, bar: float) -> tuple[str, ...]:
    return (name, f"{seconds:.2f}", f"{ratio:.2f}", f"≤ {bar:g}: {'met' if ratio <= bar else 'MISSED'}")
