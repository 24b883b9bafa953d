"""Comments directly above a fenced block of a document, which say what the tests do with it.

    <!-- file: policy.toml -->        it is written into this file, for the commands that follow
    <!-- not run: why -->             nobody runs it here; tests/documentation/reading.py reads it
    <!-- run by: tests/x/test_y.py --> that test runs it, in an environment of its own

The site shows the second and the third.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["file", "not run", "run by"]
_MARK = re.compile(r"^<!-- (file|not run|run by): (.+?) -->[^\S\n]*$", re.MULTILINE)


@dataclass(frozen=True)
class Mark:
    kind: Kind
    says: str


def mark_of(comment: str) -> Mark | None:
    """None for a comment that is something else."""
    found = _MARK.fullmatch(comment.strip())
    return Mark(found[1], found[2]) if found else None  # type: ignore[arg-type]


def visible(text: str) -> str:
    """The document with its marks as sentences."""

    def sentence(found: re.Match[str]) -> str:
        match found[1]:
            case "not run":
                return f"*Not run by the tests, only read: {found[2]}.*\n"
            case "run by":
                return f"*Run by* `{found[2]}`*.*\n"
        return f"`{found[2]}`:\n"

    return _MARK.sub(sentence, text)
