"""Standard output and standard error. Results go to stdout and nothing else does; people are spoken to on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from modeldist.errors import StorageError

SIGPIPE_EXIT = 141  # what a shell shows for a program that SIGPIPE ended


def put(text: str) -> None:
    """Print one result to stdout at once. Ends the program quietly when the reader has gone (`modeldist ls | head`).
    Raises StorageError when stdout is a file that cannot be written."""
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except OSError as error:
        raise unwritable(error) from None


def unwritable(error: OSError) -> SystemExit | StorageError:
    """What to raise when stdout takes nothing any more."""
    # The interpreter flushes stdout once more at exit; let that one succeed.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
        return SystemExit(SIGPIPE_EXIT)
    return StorageError(
        f"Standard output cannot be written: {error.strerror or error}.",
        remedy="What was asked for is done; only the answer is lost. Free space where the output goes.",
    )


def put_json(value: Any) -> None:
    """Print one JSON document: on one line, or indented when a person looks at it, who has a terminal that it must not
    drive."""
    import msgspec

    encoded = msgspec.json.encode(value)
    if not sys.stdout.isatty():
        put(encoded.decode())
        return
    shown = msgspec.json.format(encoded, indent=2).decode()
    put("".join(each if each.isprintable() or each == "\n" else _escaped(each) for each in shown))


def _escaped(character: str) -> str:
    """As JSON may have it. C1 controls and marks of direction are no controls to it."""
    import json

    return json.dumps(character)[1:-1]


def say(text: str) -> None:
    """One line to stderr. A closed stderr is no reason to fail."""
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        pass


def attended() -> bool:
    """Whether a person watches stderr."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def columns() -> int:
    """How wide the terminal is that stdout goes to; 0: it goes to none, and lines may be of any length."""
    return os.get_terminal_size(sys.stdout.fileno()).columns if sys.stdout.isatty() else 0


def clean(text: str) -> str:
    """`text` without characters that could drive the terminal: names and messages may come from the network."""
    return "".join(character if character.isprintable() or character in "\n\t" else "�" for character in text)


def put_table(titles: Sequence[str], rows: Sequence[Sequence[str]], *, right: frozenset[int] = frozenset()) -> None:
    """Print columns two spaces apart; the columns in `right` are right-aligned, the last one is never padded."""
    for line in table_lines(titles, rows, right=right):
        put(line)


def table_lines(
    titles: Sequence[str], rows: Sequence[Sequence[str]], *, right: frozenset[int] = frozenset()
) -> list[str]:
    everything = [list(titles), *([clean(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in everything) for column in range(len(titles))]
    lines = []
    for row in everything:
        cells = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines
