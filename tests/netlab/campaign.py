"""A scenario measured: a lab is built, and each contender runs in it several times."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil

from tests.netlab import goodput, host, namespaces
from tests.netlab.cluster import LabCluster
from tests.netlab.figures import MODELDIST, Raw, Run, run_of
from tests.netlab.limits import bound
from tests.netlab.model import Model
from tests.netlab.origin import Origin
from tests.netlab.pulls import pull_everywhere
from tests.netlab.rivals.base import Arena, Rival
from tests.netlab.scenario import MIB, LabScenario
from tests.netlab.topology import CONGESTION, MTU, Topology

Say = Callable[[str], None]


@dataclass(frozen=True)
class Measured:
    """`missing`: rival -> why it was not measured."""

    scenario: LabScenario
    machine: Mapping[str, object]
    runs: Mapping[str, Sequence[Run]]
    missing: Mapping[str, str] = field(default_factory=dict)


def campaign(
    scenario: LabScenario,
    *,
    runs: int,
    rivals: Sequence[Rival],
    ours: bool = True,
    directory: Path,
    say: Say,
    environment: dict[str, str] | None = None,
    congestion: str = CONGESTION,
    mtu: int = MTU,
    stream: float = 1.0,
) -> Measured:
    """Rivals take turns, so that a change of the machine's mood meets all of them. Raises LabError.

    `stream`: seconds of the plain TCP stream that measures a link before each run.
    """
    machine = {
        **host.facts(),
        "tcp_congestion_control": congestion,
        "mtu": mtu,
        "busy_before": round(host.load_now(), 4),
    }
    missing = {rival.name: why for rival in rivals if (why := rival.missing())}
    there = [rival for rival in rivals if rival.name not in missing]
    if not scenario.rivals:
        missing |= {rival.name: "nodes of this scenario come late or die" for rival in there}
        there = []
    found: dict[str, list[Run]] = {}
    namespaces.sweep()
    namespaces.sweep_folders(directory)
    home = namespaces.own_folder(directory)
    try:
        with Topology(scenario, congestion=congestion, mtu=mtu) as lab, Origin(lab, home / "origin") as origin:
            with LabCluster(lab, scenario, home / "cluster", environment or {}) as cluster:
                if ours:
                    _warm_up(lab, scenario, cluster, origin)
                for number in range(runs if ours else 0):
                    made = origin.new_model(scenario)
                    links = goodput.measure(lab, scenario, stream)
                    limit = bound(scenario, links)
                    run = _timed(
                        MODELDIST,
                        scenario,
                        links,
                        lambda made=made, limit=limit: pull_everywhere(  # type: ignore[misc]
                            lab, scenario, cluster, origin, made, limit
                        ),
                    )
                    _keep(found, run, number, say)
                    cluster.empty(made.reference)
                    origin.forget(made)
            for number in range(runs if there else 0):
                made = origin.new_model(scenario)
                for rival in there:
                    links = goodput.measure(lab, scenario, stream)
                    run = _rival(rival, scenario, links, lab, origin, made, home / "rival")
                    _keep(found, run, number, say)
                origin.forget(made)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    return Measured(scenario, machine, found, missing)


def _warm_up(lab: Topology, scenario: LabScenario, cluster: LabCluster, origin: Origin) -> None:
    """A pull of a small model on all nodes, as agents that have run for a while have done before."""
    small = replace(scenario, shards=(2 * MIB,), nodes=tuple(replace(n, start=0.0, dies=None) for n in scenario.nodes))
    made = origin.new_model(small)
    pull_everywhere(lab, small, cluster, origin, made, 10.0)
    cluster.empty(made.reference)
    origin.forget(made)


def _rival(
    rival: Rival,
    scenario: LabScenario,
    links: dict[float, float],
    lab: Topology,
    origin: Origin,
    made: Model,
    home: Path,
) -> Run:
    home.mkdir()
    try:
        arena = Arena(lab, scenario, origin, made, home)
        return _timed(rival.name, scenario, links, lambda: rival.run(arena))
    finally:
        shutil.rmtree(home)


def _timed(name: str, scenario: LabScenario, links: dict[float, float], work: Callable[[], Raw]) -> Run:
    psutil.cpu_percent()
    raw = work()
    return run_of(name, scenario, links, raw, psutil.cpu_percent() / 100)


def _keep(found: dict[str, list[Run]], run: Run, number: int, say: Say) -> None:
    found.setdefault(run.contender, []).append(run)
    say(
        f"  {run.contender} {number + 1}: {run.seconds:.2f} s of {run.bound:.2f}, R {run.r:.3f}, A {run.a:.4f}, "
        f"last/median {run.last_over_median:.3f}, CPU {run.cpu_per_gb:.2f} s/GB, {run.peak_memory >> 20} MiB, "
        f"machine {run.machine_busy:.0%}" + (f", WRONG: {run.wrong}" if run.wrong else "")
    )
