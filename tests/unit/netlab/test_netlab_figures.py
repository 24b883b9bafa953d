"""Bounds, figures and what is made of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.netlab.document import write_document
from tests.netlab.figures import Raw, run_of
from tests.netlab.limits import bound, node_bounds, simulated
from tests.netlab.record import all_met, keep, merged
from tests.netlab.scenario import MIB, Bar, LabNode, LabScenario
from tests.netlab.scenarios import SCENARIOS
from tests.netlab.table import markdown, table

PERFECT = {rate: rate * 125_000 for rate in (1000.0, 200.0, 100.0, 50.0)}
MACHINE = {
    "cores": 2,
    "kernel": "6",
    "python": "3.11",
    "tcp_congestion_control": "cubic",
    "mtu": 9000,
    "revision": "abc",
    "date": "today",
    "busy_before": 0.01,
}


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("cold-8", 256 * MIB / 25e6),
        ("cold-16", 128 * MIB / 12.5e6),
        ("slow-origin", 256 * MIB / 6.25e6),
        ("racks", 256 * MIB / 25e6),
        ("stragglers", 256 * MIB / 6.25e6),
        ("kill", 256 * MIB / 25e6),
        ("arrivals", 5.0 + 378 * MIB / 25e6),
    ],
)
def test_the_bounds_of_the_scenarios(name: str, seconds: float) -> None:
    assert bound(SCENARIOS[name], PERFECT) == pytest.approx(seconds)


def test_others_than_stragglers_have_a_bound_of_their_own() -> None:
    bounds = node_bounds(SCENARIOS["stragglers"], PERFECT)
    assert bounds["n0"] == pytest.approx(256 * MIB / 25e6)
    assert bounds["slow-down"] == pytest.approx(256 * MIB / 6.25e6)


def test_nodes_die_at_half_of_the_bound() -> None:
    dying = [node.leave for node in simulated(SCENARIOS["kill"], PERFECT).nodes if node.leave is not None]
    assert dying == [pytest.approx(0.5 * 256 * MIB / 25e6)] * 2


def two_nodes(*bars: Bar) -> LabScenario:
    nodes = (LabNode("a", 200, 200), LabNode("b", 200, 200, start=2.0))
    return LabScenario("two", "two nodes", (25_000_000,), nodes, 200, bars=bars)


def record(contender: str, r: float, bar: float = 1.1, missing: dict[str, str] | None = None) -> dict:  # type: ignore[type-arg]
    scenario = two_nodes(Bar("r", bar))
    raw = Raw({"a": 1.0, "b": 3.0 * r}, 25_000_000, cpu=0.5, peak=1 << 20)
    run = run_of(contender, scenario, PERFECT, raw, 0.5)
    return {
        "scenario": "two",
        "says": "two nodes",
        "nodes": 2,
        "unique_bytes": scenario.size,
        "bars": [[bar.figure, bar.at_most] for bar in scenario.bars],
        "missing": missing or {},
        "contenders": {contender: {"machine": MACHINE, "runs": [run.as_dict()]}},
    }


def test_figures_of_a_run() -> None:
    raw = Raw({"a": 1.1, "b": 3.3}, 50_000_000, cpu=1.0, peak=7, uplink={"r0": 30_000_000})
    run = run_of("x", two_nodes(), PERFECT, raw, 0.5)
    assert run.bound == pytest.approx(3.0)
    assert run.r == pytest.approx(1.1)
    assert run.a == pytest.approx(2.0)
    assert run.others == pytest.approx(1.1)
    assert run.last_over_median == pytest.approx(1.3 / 1.2)
    assert run.cpu_per_gb == pytest.approx(20.0)
    assert run.uplink == pytest.approx(1.2)


def test_a_bar_decides() -> None:
    assert all_met(record("modeldist", 1.05))
    assert not all_met(record("modeldist", 1.15))
    assert "MISSED" in table(record("modeldist", 1.15))


def test_a_bar_is_held_against_the_median_and_each_run_is_shown() -> None:
    several = record("modeldist", 1.3)
    runs = several["contenders"]["modeldist"]["runs"]
    runs += [dict(runs[0], r=1.06), dict(runs[0], r=1.04)]
    assert all_met(several)
    assert "R 1.0600 (median of 1.300, 1.060, 1.040), bar 1.1: met" in table(several)


def test_contenders_measured_later_are_added_and_missing_ones_named() -> None:
    ours = record("modeldist", 1.05, missing={"curl": "not installed", "aria2c": "not installed"})
    both = merged(ours, record("curl", 1.5))
    assert list(both["contenders"]) == ["modeldist", "curl"]
    assert both["missing"] == {"aria2c": "not installed"}
    assert "aria2c was not measured: not installed" in markdown(both)


def test_the_document_keeps_what_others_wrote(tmp_path: Path) -> None:
    results, document = tmp_path / "results", tmp_path / "performance.md"
    one = record("modeldist", 1.05) | {"scenario": "cold-8"}
    keep(one, results / "netlab-cold-8.json", progress=False)
    document.write_text("# Performance\n\nbefore\n")
    write_document(document, results)
    document.write_text(document.read_text() + "\n## after\n")
    write_document(document, results)
    text = document.read_text()
    assert text.count("### cold-8") == 1
    assert text.index("before") < text.index("### cold-8") < text.index("## after")
