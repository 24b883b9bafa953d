"""The table of docs/reliability.md, from what the cells and the soak saw."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from modeldist.bench.report import write_section
from tests.chaos.matrix.cells import CELLS, LASTS, MEANINGLESS, MEANS, Cell, Fault, Moment, Target

PAGE = Path("docs/reliability.md")

_MATRIX = """## The fault matrix
`make chaos`, seed {seed}: {count} of {all} cells, each a test of its name (`agent-kill-9-mid-transfer`) on real
processes: two agents with disks of their own (ext4), a control plane on PostgreSQL, Debian's docker-registry, and
nginx, to which the registry sends clients for blobs, each in a network namespace behind a link of its own. Both
nodes pull a model that nobody has seen (where a parent is meant, one pulls from the other); at the moment, told by
bytes on the wire and files on the disks, the fault is done, and healed after {least:g} to {most:g} seconds. Every
pull then has to end, with the right bytes or with an exit code and a sentence that are true of what is broken; a
pull afterwards has to work; and a checker that is none of the product's hashes every store.

In a cell: **✓** all pulls finished; a number is the exit code with which some ended; behind it, in brackets, what
the origin sent until then, over the size of the model, where that is more than 1.00 (a pull that failed leaves the
rest to the next). Garbage collection goes on beside the pulls. **failed**: what has to hold did not, in the last run of
that cell.
"""


def write_matrix(folder: Path, page: Path = PAGE) -> None:
    """Replace the matrix' section of the page by what the cells recorded in `folder`."""
    seen = {cell: json.loads(path.read_text()) for cell in CELLS if (path := folder / f"{cell.name}.json").exists()}
    seeds = sorted({record["seed"] for record in seen.values()})
    words = _MATRIX.format(
        seed=", ".join(map(str, seeds)),
        count=len(seen),
        all=len(CELLS),
        least=min(last for last in LASTS.values() if last),
        most=max(LASTS.values()),
    )
    head = ["target", "fault", *(str(moment) for moment in Moment)]
    failed = {cell for cell in CELLS if (folder / f"{cell.name}.failed").exists()}
    lines = [_line(head), _line(["---"] * len(head)), *_rows(seen, failed)]
    parts = [words, *lines, "", *_sentences(seen), "", *_means(), "", *_reasons()]
    write_section("matrix", "\n".join(parts), page)


def write_soak(report: list[str], page: Path = PAGE) -> None:
    command = (
        "`python -m tests.chaos soak`: faults of the matrix, drawn at random, up to three at a time, while pulls, "
    )
    words = f"## The soak\n{command}removals and collections go on. Damage at rest and clocks are left to the matrix."
    write_section("soak", "\n".join([words, "", "```text", *report, "```"]), page)


def _rows(seen: dict[Cell, Any], failed: set[Cell]) -> Iterable[str]:
    for target in Target:
        for fault in Fault:
            if (target, fault) in MEANINGLESS:
                continue
            row = [Cell(target, fault, moment) for moment in Moment]
            cells = ["**failed**" if cell in failed else _result(seen.get(cell)) for cell in row]
            yield _line([str(target), str(fault), *cells])


def _result(record: Any) -> str:
    if record is None:
        return "not run"
    codes = sorted({pull["code"] for pull in record["pulls"] if pull["code"]})
    outcome = ", ".join(map(str, codes)) or "✓"
    return outcome + (f" ({record['origin']:.2f})" if record["origin"] > 1.005 else "")


def _sentences(seen: dict[Cell, Any]) -> Iterable[str]:
    yield "What users saw besides, with the number of pulls:"
    found: dict[tuple[int, str], Counter[str]] = defaultdict(Counter)
    for cell, record in seen.items():
        for pull in record["pulls"]:
            if pull["code"]:
                found[pull["code"], pull["said"]][f"{cell.target}, {cell.fault}"] += 1
    for (code, said), where in sorted(found.items(), key=lambda item: item[0]):
        told = "; ".join(f"{name} {count}" for name, count in where.items())
        yield f"- {code}: “{said.replace('|', '/')}” ({told})"


def _means() -> Iterable[str]:
    yield "How it is done, where the name does not say it:"
    grouped: dict[str, list[str]] = defaultdict(list)
    for (target, fault), how in MEANS.items():
        grouped[how].append(f"{target}, {fault}")
    yield from (f"- {'; '.join(which)}: {how}" for how, which in grouped.items())


def _reasons() -> Iterable[str]:
    yield "What is in no row:"
    grouped: dict[str, list[str]] = defaultdict(list)
    for (target, fault), why in MEANINGLESS.items():
        grouped[why].append(f"{target}, {fault}" if target is not Target.RDMA else str(fault))
    for why, which in grouped.items():
        rdma = why.startswith("`make test-rdma`")
        yield f"- {'RDMA device' if rdma else '; '.join(which)}: {why}"
    yield "  (`test_a_device_removed_at_half_time_and_back_again`, `test_a_device_removed_in_mid_transfer`,"
    yield "  `test_a_port_that_goes_down`, `test_a_parent_killed_in_mid_read`, `test_registration_refused`)"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
