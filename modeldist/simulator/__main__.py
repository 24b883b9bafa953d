"""`python -m modeldist.simulator [scenario …] [--seeds N] [--json] [--plots DIR] [--timeline] [--set name=value …]`"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import fields, replace
from pathlib import Path

from modeldist.scheduler.phase1 import OriginLimits, Phase1Config
from modeldist.scheduler.phase2 import Phase2Config
from modeldist.simulator.plots import draw
from modeldist.simulator.presets import PRESETS, SMALL_PRESETS
from modeldist.simulator.result import Result
from modeldist.simulator.scenario import Scenario
from modeldist.simulator.timeline import Timeline
from modeldist.simulator.world import simulate

_COLUMNS = ("seed", "seconds", "bound", "R", "A", "worst", "last/med", "uplink/F", "waste", "CPU s")
_HEAD = f"{'scenario':<18}" + "".join(f"{column:>9}" for column in _COLUMNS)


def _row(result: Result, seed: int) -> str:
    uplink = max(result.rack_in.values(), default=0) / result.unique_bytes if result.unique_bytes else 0.0
    waste = result.wasted_bytes / result.unique_bytes if result.unique_bytes else 0.0
    note = "" if result.complete else "  not complete"
    figures = (result.r, result.a, result.worst, result.last_over_median, uplink, waste)
    cpu = f"{result.cpu_seconds:>9.1f}"
    row = f"{result.name:<18}{seed:>9}{result.seconds:>9.2f}{result.bound:>9.2f}"
    return row + "".join(f"{figure:>9.4f}" for figure in figures) + cpu + note


_NUMBERS = {"int", "int | None", "float", "float | None", "bool"}
_ABOVE_ZERO = {"origin_rate", "stream_rate", "verify_rate", "report_interval", "tick", "control_tick", "limit"}
"""With 0 in one of these, nothing moves, or time does not."""


def _with(scenario: Scenario, name: str, value: float) -> Scenario:
    """The scenario with one field set. Raises ValueError for a field that there is not, or a value it cannot have."""
    part, _, field = name.rpartition(".")
    phase1 = scenario.phase1
    parts: dict[str, Scenario | Phase1Config | Phase2Config | OriginLimits]
    parts = {"": scenario, "phase1": phase1, "phase2": scenario.phase2, "origin": phase1.default_origin}
    if part not in parts:
        raise ValueError(f"{name}: not of scenario, phase1, phase2 or origin")
    kinds = {known.name: str(known.type) for known in fields(parts[part]) if known.type in _NUMBERS}
    if field not in kinds:
        raise ValueError(f"{name} is no field with a number; there are {', '.join(kinds)}")
    if not value >= 0 or (not part and field in _ABOVE_ZERO and not value):
        raise ValueError(f"{name}={value:g}: it takes a number {'above 0' if field in _ABOVE_ZERO else 'from 0 on'}")
    if not kinds[field].startswith("float") and not isinstance(value, int):
        raise ValueError(f"{name}={value:g}: it takes a whole number")
    changed = replace(parts[part], **{field: value})  # type: ignore[arg-type]
    match changed:
        case Scenario():
            return changed
        case Phase1Config():
            return replace(scenario, phase1=changed)
        case Phase2Config():
            return replace(scenario, phase2=changed)
        case _:
            return replace(scenario, phase1=replace(phase1, default_origin=changed))


def _preset(name: str, settings: dict[str, float]) -> Scenario:
    scenario = PRESETS[name]()
    for field, value in settings.items():
        scenario = _with(scenario, field, value)
    return scenario


def _settings(pairs: list[str]) -> dict[str, float]:
    """Raises ValueError for what is no name=number."""
    settings = {}
    for pair in pairs:
        name, _, text = pair.partition("=")
        try:
            value = float(text)
        except ValueError:
            raise ValueError(f"{pair!r} is not name=number") from None
        settings[name] = int(value) if value.is_integer() else value
    return settings


def main(arguments: list[str] | None = None) -> int:
    """Print a row (or a JSON object) per scenario and seed; 1 when a run did not complete."""
    parser = argparse.ArgumentParser(prog="python -m modeldist.simulator", description=__doc__)
    parser.add_argument("scenario", nargs="*", help=f"of {', '.join(PRESETS)} (default: the small ones)")
    parser.add_argument("--seeds", type=int, default=1, help="runs per scenario")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="draw charts there (needs matplotlib)")
    parser.add_argument("--timeline", action="store_true", help="and how full the links were, by half seconds")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        help="a field, as in piece_size=262144 phase2.window=0.25 origin.streams=8",
    )
    options = parser.parse_args(arguments)
    unknown = [name for name in options.scenario if name not in PRESETS]
    if unknown:
        parser.error(f"no scenario is called {unknown[0]!r}; there are {', '.join(PRESETS)}")
    if options.seeds < 1:
        parser.error(f"--seeds {options.seeds}: it takes a whole number from 1 on")
    try:
        settings = _settings(options.set)
        scenarios = [_preset(name, settings) for name in options.scenario or SMALL_PRESETS]
    except ValueError as error:
        parser.error(str(error))
    results = []
    if not options.json:
        print(_HEAD)
    for scenario in scenarios:
        for seed in range(1, options.seeds + 1):
            timeline = Timeline() if options.timeline else None
            started = time.process_time()
            result = simulate(replace(scenario, seed=seed), timeline)
            result = replace(result, cpu_seconds=time.process_time() - started)
            results.append(result)
            if not options.json:
                print(_row(result, seed), flush=True)
            if timeline is not None:
                print(timeline.table(), file=sys.stderr if options.json else sys.stdout)
    if options.json:
        json.dump([result.as_dict() for result in results], sys.stdout, indent=1)
        print()
    if options.plots:
        draw([result.as_dict() for result in results], options.plots)
    return 0 if all(result.complete for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
