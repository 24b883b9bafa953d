"""The laboratory's part of docs/performance.md, written from what was measured and kept."""

from __future__ import annotations

import json
from pathlib import Path

from modeldist.bench.report import write_section
from tests.netlab.record import Record
from tests.netlab.rivals.catalogue import RIVALS
from tests.netlab.scenarios import SCENARIOS
from tests.netlab.table import markdown

_WORDS = """## In network namespaces
`modeldist bench --save`, a scenario at a time.

Real agents, a real control plane and Debian's docker-registry, each in a network namespace; every link is shaped at
both ends with a token bucket and holds 20 ms of data. Agents are warm and have never seen the model. Stores lie in
memory, as nodes do not share a disk. **R** is the time until the last node has the verified snapshot over the fluid
limit, with the goodput one plain TCP stream reached over the same links in the same run; **A** is what the registry's
access log says it sent over the bytes of the model. `CPU s/GB` counts the nodes' processes per GB arrived. Medians;
n is the number of runs.

Rivals, in the same namespaces: {rivals}."""


def write_document(path: Path, results: Path) -> None:
    """Replace our part of the document, or add it."""
    records = {record["scenario"]: record for record in map(_read, sorted(results.glob("netlab-*.json")))}
    ordered = [records[name] for name in SCENARIOS if name in records]
    rivals = "; ".join(f"**{rival.name}**: {rival.says}" for rival in RIVALS.values())
    write_section("netlab", "\n".join([_WORDS.format(rivals=rivals), "", *map(_section, ordered)]), path)


def _section(record: Record) -> str:
    return f"### {record['scenario']}\n{record['says']}.\n\n{markdown(record)}\n\n{_machines(record)}\n"


def _machines(record: Record) -> str:
    """What it ran on, once where it was the same machine and revision."""
    said: dict[str, list[str]] = {}
    for name, found in record["contenders"].items():
        machine = found["machine"]
        line = (
            f"{machine['cores']} cores, Linux {machine['kernel']}, Python {machine['python']}, TCP "
            f"{machine['tcp_congestion_control']}, MTU {machine['mtu']}, revision {machine['revision']}, "
            f"{machine['date']}, {machine['busy_before']:.0%} of the machine in use before"
        )
        said.setdefault(line, []).append(name)
    return "\n".join(f"*{', '.join(names)}: {line}.*" for line, names in said.items())


def _read(path: Path) -> Record:
    record: Record = json.loads(path.read_text())
    return record
