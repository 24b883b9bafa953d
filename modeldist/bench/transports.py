"""`python -m modeldist.bench transports`: our piece protocol without digests, beside a bare pair and other libraries.

All move the same number of bytes over loopback between two processes. The bare pair, ours and libtorrent go from file
to file, and libtorrent checks its pieces; NIXL (UCX over TCP) and Mooncake (TCP, batched reads) go from memory to
memory and write nothing. `--python` names the interpreter that has the libraries; what it lacks is named.

With `--tls` the contenders are the piece protocol in the clear and behind TLS, and what that costs is a section of its
own.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec

from modeldist.bench import libraries, machine
from modeldist.bench.options import count, file_options
from modeldist.bench.programs import ProgramFailed
from modeldist.bench.report import table, write_section
from modeldist.bench.runs import Run, Sample, in_turns
from modeldist.bench.single import MIB, write_random
from modeldist.transfer.bench import TLS, transfers

BARE, OURS = "bare pair", "piece protocol"
_LIBRARIES: dict[str, tuple[str, tuple[str, ...]]] = {  # name -> module, script and which library it is to take
    "libtorrent": ("libtorrent", ("torrent_pair.py",)),
    "NIXL, UCX TCP": ("nixl._api", ("memory_pair.py", "nixl")),
    "Mooncake TCP": ("mooncake.engine", ("memory_pair.py", "mooncake")),
}
_PATIENCE = 120.0  # seconds for one run of a library


class _Said(msgspec.Struct):
    seconds: float
    cpu: float


def main(arguments: list[str] | None = None) -> None:
    parser = file_options("transports", __doc__)
    parser.add_argument("--size", type=count, default=2048, help="MiB to move")
    parser.add_argument("--python", default=sys.executable, help="interpreter with libtorrent, nixl, mooncake")
    parser.add_argument("--tls", action="store_true", help="what TLS costs, in place of the libraries")
    options = parser.parse_args(arguments)
    print(found := machine.look().sentence(), flush=True)
    size = options.size * MIB
    if options.tls:
        _tls(options.directory, size, options.repeat, found, write=options.write)
        return
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        samples, missing = measure(Path(directory), size, options.repeat, options.python)
    text = _described(samples, missing, size)
    print(text)
    if options.write:
        command = f"python -m modeldist.bench transports --size {options.size} --repeat {options.repeat}"
        write_section("transports", f"## The data plane alone\n`{command}`. {found}.\n\n{text}")


def _tls(directory: Path | None, size: int, repeat: int, found: str, *, write: bool) -> None:
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        shard = Path(folder) / "shard"
        write_random(shard, size)
        ours = transfers(shard, Path(folder) / "received", Path(folder) / "proofs")
        contenders: dict[str, Callable[[], Run]] = {name: partial(_run, move) for name, move in ours.items()}
        contenders[BARE]()  # the target's pages are allocated here, not in anybody's time
        samples = in_turns(contenders, repeat, size=size)
    plain, tls = samples[OURS], samples[TLS]
    ratios = (
        f"TLS ÷ in the clear: CPU {tls.cpu / plain.cpu:.2f}, goodput {plain.seconds / tls.seconds:.2f} "
        f"(+{(tls.cpu - plain.cpu) / size * 1e9:.3f} CPU s/GB, both ends together)."
    )
    text = f"{_described(samples, [], size)}\n\n{ratios}"
    print(text)
    if write:
        command = f"python -m modeldist.bench transports --tls --size {size // MIB} --repeat {repeat}"
        write_section("transports-tls", f"## TLS between nodes: the data plane alone\n`{command}`. {found}.\n\n{text}")


def measure(directory: Path, size: int, repeat: int, python: str) -> tuple[dict[str, Sample], list[str]]:
    """Samples by contender; which libraries `python` lacks."""
    shard = directory / "shard"
    write_random(shard, size)
    ours = transfers(shard, directory / "received")
    contenders: dict[str, Callable[[], Run]] = {name: partial(_run, move) for name, move in ours.items()}
    missing = []
    for name, (module, command) in _LIBRARIES.items():
        if subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False).returncode:
            missing.append(name)
        else:
            contenders[name] = partial(_library, python, command, shard, directory)
    contenders[BARE]()  # the target's pages are allocated here, not in anybody's time
    return in_turns(contenders, repeat, size=size), missing


def _run(move: Callable[[], tuple[float, float]]) -> Run:
    return Run(*move())


def _library(python: str, command: tuple[str, ...], shard: Path, directory: Path) -> Run:
    script, *which = command
    path = Path(libraries.__file__).parent / script
    with tempfile.TemporaryDirectory(dir=directory) as target:
        given = [*which, str(shard.stat().st_size)] if which else [str(shard), target]
        ran = subprocess.run([python, path, *given], capture_output=True, text=True, check=False, timeout=_PATIENCE)
    if ran.returncode:
        raise ProgramFailed(f"{script} failed: {ran.stderr.strip()[-1000:]}")
    said = msgspec.json.decode(ran.stdout.strip().splitlines()[-1], type=_Said)
    return Run(said.seconds, said.cpu)


def _described(samples: dict[str, Sample], missing: list[str], size: int) -> str:
    bare = samples[BARE]
    rows = [
        (
            name,
            f"{sample.seconds:.2f}",
            f"{size / sample.seconds / 1e9:.2f}",
            f"{bare.seconds / sample.seconds:.2f}",
            f"{sample.cpu / size * 1e9:.3f}",
            f"{sample.spread:.0%}",
        )
        for name, sample in samples.items()
    ]
    head = (f"{size / MIB:.0f} MiB", "s", "GB/s", "goodput ÷ bare pair", "CPU s/GB", "spread")
    return table(head, rows) + (f"\n\nNot importable here: {', '.join(missing)}." if missing else "")
