"""What was measured as plain data: kept as JSON, added to, and turned into tables.

{scenario, says, nodes, unique_bytes, bars: [[figure, at_most]], missing: {rival: why},
 contenders: {name: {machine: {…}, runs: [{…}]}}}
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from tests.netlab.campaign import Measured
from tests.netlab.figures import MODELDIST

Record = dict[str, Any]


def record_of(measured: Measured) -> Record:
    scenario = measured.scenario
    return {
        "scenario": scenario.name,
        "says": scenario.says,
        "nodes": len(scenario.nodes),
        "unique_bytes": scenario.size,
        "bars": [[bar.figure, bar.at_most] for bar in scenario.bars],
        "missing": dict(measured.missing),
        "contenders": {
            name: {"machine": dict(measured.machine), "runs": [run.as_dict() for run in runs]}
            for name, runs in measured.runs.items()
        },
    }


def merged(old: Record, new: Record) -> Record:
    """`new`, with the contenders of `old` that were not measured again."""
    contenders = old.get("contenders", {}) | new["contenders"]
    missing = {name: why for name, why in (old.get("missing", {}) | new["missing"]).items() if name not in contenders}
    return old | new | {"contenders": contenders, "missing": missing}


def keep(record: Record, path: Path, *, progress: bool) -> None:
    """Add to what the file holds. Without `progress` the curves are left out."""
    if not progress:
        record = record | {
            "contenders": {
                name: found | {"runs": [{**run, "progress": {}} for run in found["runs"]]}
                for name, found in record["contenders"].items()
            }
        }
    old = json.loads(path.read_text()) if path.exists() else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(merged(old, record), indent=1) + "\n")


def values(record: Record, contender: str, figure: str) -> list[float]:
    return [float(run[figure]) for run in record["contenders"].get(contender, {}).get("runs", [])]


def median(record: Record, contender: str, figure: str) -> float:
    return statistics.median(values(record, contender, figure))


def bars(record: Record) -> list[tuple[str, float, float]]:
    """(figure, our median, bar) of what was measured."""
    if not values(record, MODELDIST, "r"):
        return []
    return [(figure, median(record, MODELDIST, figure), at_most) for figure, at_most in record["bars"]]


def all_met(record: Record) -> bool:
    wrong = any(run["wrong"] for found in record["contenders"].values() for run in found["runs"])
    return not wrong and all(found <= at_most for _, found, at_most in bars(record))
