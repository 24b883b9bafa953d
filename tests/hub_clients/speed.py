"""`hf download` through the gateways of four nodes beside `modeldist pull` of the same bytes on the same nodes.

    python -m tests.hub_clients.speed                   links of 200 Mbit/s
    python -m tests.hub_clients.speed --mbit 0          links without a limit: what the machine's cores can do

Both are timed as a person at a shell would, from the start of the program to its end, on all nodes at once, in turns;
each time it is a model that no node has seen. The start of Python and of huggingface_hub is in it, and beside it the
time of each for a model of one small file, which is nearly nothing else: `bytes alone` is the ratio of what is left
without that. `direct` is what the client takes for the same bytes without us, each from a plain server (sendfile) on
its own loopback. `A` is what the hub sent over the bytes of the model. Root and network namespaces are needed, as for
`tests.netlab`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.netlab import model, namespaces
from tests.netlab.cluster import LabCluster
from tests.netlab.cost import Cost, total
from tests.netlab.rivals.base import all_at_once
from tests.netlab.scenario import MIB, LabNode, LabScenario
from tests.netlab.topology import ORIGIN, Topology

GATEWAY = "127.0.0.1:7430"
HUB_PROGRAM = Path("tests/netlab/programs/hub.py")
BAR = 1.10  # a client's time over that of a pull


class HubProcess:
    """The Hugging Face shaped server in a namespace."""

    def __init__(self, inside: list[str], address: str) -> None:
        self._command = [*inside, sys.executable, str(HUB_PROGRAM), address]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def commit(self, repo: str, folder: Path) -> str:
        """Its URL."""
        return str(self._ask({"repo": repo, "folder": str(folder)})["url"])

    def sent(self, repo: str) -> int:
        return int(str(self._ask({"count": repo})["bytes"]))

    def _ask(self, question: dict[str, str]) -> dict[str, object]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer: dict[str, object] = json.loads(self._process.stdout.readline())
        return answer


@dataclass(frozen=True)
class Timed:
    """Seconds of each node, and CPU seconds of its program and of its agent, both of all nodes."""

    seconds: Mapping[str, float]
    program: float
    agent: float
    amplification: float

    def __str__(self) -> str:
        each = " ".join(f"{seconds:.2f}" for seconds in self.seconds.values())
        return f"{each} s; CPU {self.program:.2f} + {self.agent:.2f} s; A {self.amplification:.2f}"


class Field:
    """The nodes, and what runs on them."""

    def __init__(self, lab: Topology, scenario: LabScenario, cluster: LabCluster, hub: HubProcess, home: Path) -> None:
        self._lab = lab
        self._scenario = scenario
        self._cluster = cluster
        self._hub = hub
        self._home = home
        self._models = 0

    def new_model(self, shards: tuple[int, ...]) -> tuple[str, Path]:
        self._models += 1
        folder = self._home / f"model-{self._models}"
        repo = f"lab/model-{self._models}"
        model.make(LabScenario(repo, "", shards, (), 0), folder)
        (folder / "config.json").write_text(json.dumps({"_name_or_path": repo}))
        self._hub.commit(repo, folder)
        return repo, folder

    def pull(self, repo: str, folder: Path) -> Timed:
        commands = {
            node.name: [
                *self._lab.inside(node.name),
                *("env", f"MODELDIST_SOCKET={self._home}/cluster/{node.name}.sock"),
                *(*model.MODELDIST, "pull", "--quiet", f"hf://{repo}"),
            ]
            for node in self._scenario.nodes
        }
        return self._timed(repo, folder, commands)

    def download(self, repo: str, folder: Path, endpoints: Mapping[str, str]) -> Timed:
        caches = self._home / "clients"
        commands = {
            name: [
                *self._lab.inside(name),
                *("env", f"HF_HOME={caches / name}", f"HF_ENDPOINT={endpoint}", "HF_HUB_DISABLE_PROGRESS_BARS=1"),
                *("HF_HUB_DISABLE_TELEMETRY=1", str(Path(sys.executable).with_name("hf")), "download", repo),
            ]
            for name, endpoint in endpoints.items()
        }
        try:
            return self._timed(repo, folder, commands)
        finally:
            shutil.rmtree(caches, ignore_errors=True)

    def _timed(self, repo: str, folder: Path, commands: Mapping[str, list[str]]) -> Timed:
        before, pids = self._hub.sent(repo), self._cluster.pids
        agents = total(pids)
        ended = all_at_once(commands)
        agent = total(pids).since(agents).cpu
        size = sum(file.stat().st_size for file in folder.iterdir())
        program = sum((end.cost for end in ended.values()), Cost()).cpu
        seconds = {node: end.seconds for node, end in ended.items()}
        return Timed(seconds, program, agent, (self._hub.sent(repo) - before) / size)

    def forget(self, repo: str, folder: Path) -> None:
        """Of the nodes and of the machine."""
        for client in self._cluster.clients.values():
            for row in client.artifacts():
                for reference in row["references"]:
                    if repo in reference:
                        client.remove(reference)
            client.gc()
        shutil.rmtree(folder)

    def direct(self, repo: str, folder: Path) -> Timed:
        """From a plain server on each node's own loopback."""
        with ExitStack() as servers:
            endpoints = {}
            for node in self._scenario.nodes:
                near = servers.enter_context(HubProcess(self._lab.inside(node.name), "127.0.0.1"))
                endpoints[node.name] = near.commit(repo, folder)
            return self.download(repo, folder, endpoints)

    def through_gateways(self) -> dict[str, str]:
        return {node.name: f"http://{GATEWAY}" for node in self._scenario.nodes}


@contextmanager
def field(nodes: int, mbit: float, directory: Path) -> Iterator[Field]:
    rate = mbit or math.inf
    scenario = LabScenario("gateways", "", (), tuple(LabNode(f"n{index}", rate, rate) for index in range(nodes)), rate)
    namespaces.sweep()
    namespaces.sweep_folders(directory)
    home = namespaces.own_folder(directory)
    try:
        with Topology(scenario) as lab, HubProcess(lab.inside(ORIGIN), lab.address(ORIGIN)) as hub:
            empty = Path(tempfile.mkdtemp(dir=home))
            (empty / "config.json").write_text("{}")
            environment = {
                "HF_ENDPOINT": hub.commit("lab/empty", empty),
                "HF_HOME": str(home / "agents-hf"),
                "HF_TOKEN": "",
                "MODELDIST_AGENT_GATEWAY": GATEWAY,
            }
            with LabCluster(lab, scenario, home / "cluster", environment) as cluster:
                yield Field(lab, scenario, cluster, hub, home)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.hub_clients.speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--mbit", type=float, default=200, help="rate of every link, the hub's too; 0: no limit [200]")
    parser.add_argument("--shards", default="128,128,128", help="MiB of each file [128,128,128]")
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--directory", type=Path, default=Path("/dev/shm"), help="where all files lie [/dev/shm]")
    options = parser.parse_args(arguments)
    if why := namespaces.missing():
        print(f"speed: {why}", file=sys.stderr)
        return 2
    shards = tuple(int(float(part) * MIB) for part in options.shards.split(","))
    found: dict[str, list[Timed]] = {"pull": [], "hf download": []}
    with field(options.nodes, options.mbit, options.directory) as nodes:
        ways: dict[str, Callable[[str, Path], Timed]] = {
            "pull": nodes.pull,
            "hf download": lambda repo, folder: nodes.download(repo, folder, nodes.through_gateways()),
        }
        for way in ways.values():  # agents and caches of bytecode that have run for a while
            repo, folder = nodes.new_model((2 * MIB,))
            way(repo, folder)
            nodes.forget(repo, folder)
        for number in range(options.runs):
            for name, way in ways.items():
                repo, folder = nodes.new_model(shards)
                found[name].append(timed := way(repo, folder))
                print(f"  {name} {number + 1}: {timed}", flush=True)
                if number == options.runs - 1 and name == "hf download":
                    print(f"  hf download again, from the store: {way(repo, folder)}", flush=True)
                    print(f"  hf download direct: {nodes.direct(repo, folder)}", flush=True)
                nodes.forget(repo, folder)
        started: dict[str, list[Timed]] = {name: [] for name in ways}
        for _ in range(options.runs):
            for name, way in ways.items():
                repo, folder = nodes.new_model((1024,))
                started[name].append(timed := way(repo, folder))
                print(f"  {name} of a small file: {timed}", flush=True)
                nodes.forget(repo, folder)
    slowest, start = _slowest(found), _slowest(started)
    ratio = slowest["hf download"] / slowest["pull"]
    alone = (slowest["hf download"] - start["hf download"]) / (slowest["pull"] - start["pull"])
    amplification = max(run.amplification for runs in found.values() for run in runs)
    print(
        f"{sum(shards) >> 20} MiB to {options.nodes} nodes, "
        + (f"links of {options.mbit:g} Mbit/s" if options.mbit else "links without a limit")
        + f", {os.cpu_count()} cores: slowest hf download {slowest['hf download']:.2f} s, "
        f"slowest modeldist pull {slowest['pull']:.2f} s, ratio {ratio:.2f} (bar {BAR:.2f}), bytes alone {alone:.2f}, "
        f"A {amplification:.2f}"
    )
    return 0 if ratio <= BAR and amplification <= 1.0 else 1


def _slowest(found: Mapping[str, list[Timed]]) -> dict[str, float]:
    """Seconds of the slowest node, the median of the runs."""
    return {name: statistics.median(max(run.seconds.values()) for run in runs) for name, runs in found.items()}


if __name__ == "__main__":
    sys.exit(main())
