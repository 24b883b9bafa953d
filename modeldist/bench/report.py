"""docs/performance.md: one marked section per benchmark, replaced whole by the command that measured it."""

from __future__ import annotations

import fcntl
import re
from collections.abc import Sequence
from pathlib import Path

PAGE = Path("docs/performance.md")
_HEAD = """# Performance

Every section between marks was written by the command it names. Figures compare in one run on one machine; other
machines give other figures, and the ratios are what to look at. Run `make bench` to measure your own.
"""


def write_section(name: str, text: str, page: Path = PAGE) -> None:
    """Put `text` (Markdown) between the marks of section `name`, at the end of the page when it is new there."""
    if not re.fullmatch(r"[a-z0-9-]+", name):
        raise ValueError(f"{name!r} does not name a section")
    section = f"<!-- begin {name} -->\n{text.strip()}\n<!-- end {name} -->\n"
    page.parent.mkdir(parents=True, exist_ok=True)
    with page.open("a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        there = file.read() or _HEAD
        file.seek(0)
        file.truncate()
        file.write(replaced(there, name, section))


def replaced(page: str, name: str, section: str) -> str:
    """`page` with the marked section `name` replaced by `section`, or with it added."""
    marks = re.compile(f"<!-- begin {name} -->\n.*?<!-- end {name} -->\n", re.DOTALL)
    if marks.search(page):
        return marks.sub(lambda _: section, page, count=1)
    return f"{page.rstrip()}\n\n{section}"


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A Markdown table; all columns but the first are figures."""
    lines = [head, ("---", *("---:" for _ in head[1:])), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
