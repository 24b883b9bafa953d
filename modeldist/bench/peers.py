"""`python -m modeldist.bench peers`: one node pulls a shard that another holds, digests on, over loopback.

Agents and control plane are processes as a user runs them. CPU is that of both agents during the
pull, beside its parts measured alone in the same run: a bare `sendfile`→`splice` pair of processes into a new file (as
the pull makes one; onto pages that are there already it costs less), BLAKE3 and sha256 of as many bytes in memory.

A page that a virtual machine's host has to supply costs more than what is measured. The pair and the pull get none of
those: neither has a file to remove first, whose pages would come for nothing, and free memory is kept from the host
till they need it (`modeldist.bench.memory`).

With `--tls` the contenders are two such pairs of agents, one in a cluster that requires TLS between its nodes, and what
that costs is a section of its own.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from blake3 import blake3

from modeldist.bench import machine
from modeldist.bench.nginx import Nginx
from modeldist.bench.node_pair import NodePair
from modeldist.bench.options import count, file_options
from modeldist.bench.programs import ProgramFailed
from modeldist.bench.report import table, write_section
from modeldist.bench.runs import Run, Sample, in_turns
from modeldist.bench.single import MIB, write_random
from modeldist.transfer.bench import bare_pair

_PULL = "agent → agent, digests on"
_PULL_TLS = "agent → agent, digests on, TLS"
_PAIR, _PAIR_OVER = "bare pair, new file", "bare pair, over an old file"


class _Hash(Protocol):
    def update(self, data: memoryview, /) -> object: ...


def main(arguments: list[str] | None = None) -> None:
    parser = file_options("peers", __doc__)
    parser.add_argument("--size", type=count, default=2048, help="MiB of the shard")
    parser.add_argument("--tls", action="store_true", help="what TLS between the nodes costs")
    options = parser.parse_args(arguments)
    print(found := machine.look().sentence(), flush=True)
    if options.tls:
        _tls(options.directory, options.size * MIB, options.repeat, found, write=options.write)
        return
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        samples = measure(Path(directory), options.size * MIB, options.repeat)
    text = _described(samples, options.size * MIB)
    print(text)
    if options.write:
        command = f"python -m modeldist.bench peers --size {options.size} --repeat {options.repeat}"
        write_section("peers", f"## One node from another\n`{command}`. {found}.\n\n{text}")


def measure(directory: Path, size: int, repeat: int) -> dict[str, Sample]:
    """Samples by contender."""
    content = directory / "content"
    content.mkdir()
    write_random(content / "model.safetensors", size)
    with Nginx(directory / "nginx", content) as nginx, NodePair(directory / "nodes") as nodes:
        pull = _pulls(nodes, nginx, size)

        def pair(*, new: bool) -> Run:
            return Run(*bare_pair(content / "model.safetensors", directory / "received", new=new))

        contenders = {
            _PAIR: lambda: pair(new=True),
            _PAIR_OVER: lambda: pair(new=False),
            "BLAKE3": lambda: _hashed(lambda: blake3(max_threads=1), size),
            "sha256": lambda: _hashed(hashlib.sha256, size),
            _PULL: pull,
        }
        return in_turns(contenders, repeat, size=size)


def _pulls(nodes: NodePair, nginx: Nginx, size: int) -> Callable[[], Run]:
    """The parent has the shard; each run is the child's."""
    reference = f"{nginx.file_url('model.safetensors')}#sha256={nginx.files[0].sha256}"
    nodes.pull("parent", reference)

    def pull() -> Run:
        before, began = nodes.cpu(), time.perf_counter()
        came = nodes.pull("child", reference)
        run = Run(time.perf_counter() - began, nodes.cpu() - before, nodes.peak())
        if (came.origin, came.peers) != (0, size):
            raise ProgramFailed(f"the pull was to come from the peer alone: {came}")
        nodes.forget("child", reference)
        return run

    return pull


def _tls(directory: Path | None, size: int, repeat: int, found: str, *, write: bool) -> None:
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        content = Path(folder) / "content"
        content.mkdir()
        write_random(content / "model.safetensors", size)
        with (
            Nginx(Path(folder) / "nginx", content) as nginx,
            NodePair(Path(folder) / "nodes") as plain,
            NodePair(Path(folder) / "nodes-tls", tls=True) as secured,
        ):
            contenders = {_PULL: _pulls(plain, nginx, size), _PULL_TLS: _pulls(secured, nginx, size)}
            samples = in_turns(contenders, repeat, size=size)
    clear, tls = samples[_PULL], samples[_PULL_TLS]
    ratios = (
        f"TLS ÷ in the clear: CPU {tls.cpu / clear.cpu:.2f}, goodput {clear.seconds / tls.seconds:.2f}. "
        f"Largest agent: {tls.peak / MIB:.0f} MiB, in the clear {clear.peak / MIB:.0f} MiB."
    )
    text = f"{_table(samples, size)}\n\n{ratios}"
    print(text)
    if write:
        command = f"python -m modeldist.bench peers --tls --size {size // MIB} --repeat {repeat}"
        write_section("peers-tls", f"## TLS between nodes\n`{command}`. {found}.\n\n{text}")


def _hashed(algorithm: Callable[[], _Hash], size: int) -> Run:
    block = memoryview(os.urandom(MIB))
    hasher = algorithm()
    cpu, began = time.process_time(), time.perf_counter()
    for _ in range(size // MIB):
        hasher.update(block)
    return Run(time.perf_counter() - began, time.process_time() - cpu)


def _described(samples: dict[str, Sample], size: int) -> str:
    parts = sum(sample.cpu for name, sample in samples.items() if name not in (_PULL, _PAIR_OVER))
    pull = samples[_PULL]
    ratio = f"CPU of the pull ÷ sum of its parts: {pull.cpu / parts:.2f}. Largest agent: {pull.peak / MIB:.0f} MiB."
    return f"{_table(samples, size)}\n\n{ratio}"


def _table(samples: dict[str, Sample], size: int) -> str:
    rows = [
        (
            name,
            f"{sample.seconds:.2f}",
            f"{size / sample.seconds / 1e9:.2f}",
            f"{sample.cpu / size * 1e9:.3f}",
            f"{sample.spread:.0%}",
        )
        for name, sample in samples.items()
    ]
    return table((f"{size / MIB:.0f} MiB", "s", "GB/s", "CPU s/GB", "spread"), rows)
