"""A scenario's figures as a table, for the terminal and for Markdown."""

from __future__ import annotations

from modeldist.bench import report
from tests.netlab.figures import MODELDIST
from tests.netlab.record import Record, bars, median, values

NAMES = {"r": "R", "a": "A", "uplink": "uplink ÷ F", "others": "others ÷ their bound"}
_HEAD = ("contender", "R (spread)", "A", "seconds", "last ÷ median", "CPU s/GB", "peak MiB")
_RACKS = "uplink ÷ F"


def rows(record: Record) -> list[tuple[str, ...]]:
    """Head first; medians, and of R the smallest and the largest run."""
    with_racks = any(run["uplink"] for found in record["contenders"].values() for run in found["runs"])
    lines: list[tuple[str, ...]] = [(*_HEAD, _RACKS) if with_racks else _HEAD]
    for name in sorted(record["contenders"], key=lambda name: median(record, name, "r")):
        spread = values(record, name, "r")
        line = (
            name,
            f"{median(record, name, 'r'):.3f} ({min(spread):.3f}–{max(spread):.3f}, n={len(spread)})",
            f"{median(record, name, 'a'):.4f}",
            f"{median(record, name, 'seconds'):.2f}",
            f"{median(record, name, 'last_over_median'):.3f}",
            f"{median(record, name, 'cpu_per_gb'):.2f}",
            f"{median(record, name, 'peak_memory') / 2**20:.0f}",
        )
        lines.append((*line, f"{median(record, name, 'uplink'):.3f}") if with_racks else line)
    return lines


def table(record: Record) -> str:
    """For a terminal."""
    lines = rows(record)
    widths = [max(len(row[column]) for row in lines) for column in range(len(lines[0]))]
    text = ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in lines]
    return "\n".join([*text, *(f"  {line}" for line in remarks(record))])


def markdown(record: Record) -> str:
    head, *body = rows(record)
    return "\n".join([report.table(head, body), "", *(f"- {line}" for line in remarks(record))])


def remarks(record: Record) -> list[str]:
    """Bars, wrong content, and who was not measured."""
    said = []
    for figure, found, at_most in bars(record):
        verdict = "met" if found <= at_most else "MISSED"
        said.append(f"{NAMES[figure]} {found:.4f}{_each(record, figure)}, bar {at_most:g}: {verdict}")
    wrong = sorted({name for name, found in record["contenders"].items() for run in found["runs"] if run["wrong"]})
    said += [f"{name} put wrong content onto nodes" for name in wrong]
    if checked := record.get("cross_check"):
        said.append(
            f"cross-check: R {checked['laboratory']:.3f} here, {checked['simulator']:.3f} in the simulator "
            f"({checked['difference']:+.1%})"
        )
    return said + [f"{name} was not measured: {why}" for name, why in sorted(record["missing"].items())]


def _each(record: Record, figure: str) -> str:
    """The runs in their order: what nodes learn in the first tells in those after it."""
    each = [f"{value:.3f}" for value in values(record, MODELDIST, figure)]
    return f" (median of {', '.join(each)})" if len(set(each)) > 1 else ""
