"""What the scheduler reaches on networks too large to own: the simulator's scenarios, beside the bars set for them."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from modeldist.bench.report import table, write_section
from modeldist.simulator import simulate
from modeldist.simulator.plots import draw
from modeldist.simulator.presets import PRESETS

# scenario -> most R, most A
_BARS: dict[str, tuple[float, float]] = {
    "cold-8": (1.08, 1.0),
    "cold-16": (1.12, 1.0),
    "arrivals": (1.12, 1.0),
    "slow-origin": (1.08, 1.0),
    "racks": (1.10, 1.0),
    "kill": (1.20, 1.02),
    "cold-10000": (1.10, 1.0),
    "slices-300": (1.15, 1.0),
    "ranks-300": (1.15, 1.0),
}


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m modeldist.bench simulator", description=__doc__)
    parser.add_argument("what", nargs="+", help="scenarios, or files that `python -m modeldist.simulator --json` wrote")
    parser.add_argument("--write", action="store_true", help="write the section of docs/performance.md")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="draw charts there")
    options = parser.parse_args(arguments)
    if wrong := [name for name in options.what if name not in PRESETS and not Path(name).is_file()]:
        parser.error(f"{wrong[0]!r} is neither a scenario nor a file; there are {', '.join(PRESETS)}")
    results: list[dict[str, Any]] = []
    for what in options.what:
        results += [_run(what)] if what in PRESETS else json.loads(Path(what).read_text())
    text = _text(results)
    print(text)
    if options.write:
        write_section("simulator", text)
    if options.plots:
        draw(results, options.plots)


def _run(name: str) -> dict[str, Any]:
    started = time.process_time()
    result = simulate(PRESETS[name]())
    return replace(result, cpu_seconds=time.process_time() - started).as_dict()


def _text(results: Sequence[Mapping[str, Any]]) -> str:
    names = " ".join(dict.fromkeys(_preset(result) for result in results))
    head = (
        "scenario",
        "nodes",
        "R",
        "A",
        "bars: R, A",
        "worst node ÷ its bound",
        "last ÷ median",
        "rack uplink ÷ F",
        "seconds",
        "CPU s",
    )
    return (
        f"## Simulated swarms\n`python -m modeldist.bench simulator --write {names}`. The production scheduler on a"
        " max-min fair fluid network in virtual time; R is the time of the last node over the sharpest cut bound"
        " (`simulator/bound.py`), A is bytes that the origin sent over unique bytes (0 where nodes hold everything from"
        " the start: in `crowd-500` two do), CPU seconds are of one core. Those above 60 nodes check digests at 30 GB/s"
        " and have 40,000 digest messages a second from the control plane (`simulator/large_presets.py`).\n\n"
        + table(head, [_row(result) for result in results])
    )


def _preset(result: Mapping[str, Any]) -> str:
    return str(result["name"])


def _row(result: Mapping[str, Any]) -> tuple[str, ...]:
    bar = _BARS.get(_preset(result))
    uplink = max(result["rack_in"].values(), default=0) / result["unique_bytes"] if result["unique_bytes"] else 0.0
    return (
        _preset(result),
        f"{len(result['nodes']):,}",
        f"{result['R']:.3f}" if result["complete"] else "not complete",
        f"{result['A']:.4f}",
        f"≤ {bar[0]:.2f}, {bar[1]:.2f}" if bar else "",
        f"{result['worst']:.3f}",
        f"{result['last_over_median']:.3f}",
        f"{uplink:.3f}" if result["rack_in"] else "",
        f"{result['seconds']:.2f}",
        f"{result['cpu_seconds']:.0f}",
    )
