"""What an artifact does differently from the specification, and whether that stops the reader.

note       an older version of the specification, or a habit of one tool; nothing is lost
warning    information is missing or wrong, the files are whole
error      the specification is broken: strict readers refuse, lenient ones go on
"""

from __future__ import annotations

from typing import Literal

import msgspec

from modelpack.errors import ModelPackError

Severity = Literal["note", "warning", "error"]
Mode = Literal["strict", "lenient"]


class Deviation(msgspec.Struct, frozen=True):
    """One difference. `code` is stable; `message` is a sentence that names the thing."""

    code: str
    message: str
    severity: Severity


class Deviations:
    """Collects differences while reading; in strict mode the first error ends the reading."""

    def __init__(self, mode: Mode) -> None:
        self.mode: Mode = mode
        self._found: list[Deviation] = []

    def note(self, code: str, message: str) -> None:
        self._found.append(Deviation(code, message, "note"))

    def warn(self, code: str, message: str) -> None:
        self._found.append(Deviation(code, message, "warning"))

    def error(self, code: str, message: str, error: type[ModelPackError]) -> None:
        """Raises `error` in strict mode."""
        if self.mode == "strict":
            raise error(message, remedy="Read it in lenient mode if you trust the publisher.")
        self._found.append(Deviation(code, message, "error"))

    def extend(self, others: tuple[Deviation, ...]) -> None:
        self._found.extend(others)

    def found(self) -> tuple[Deviation, ...]:
        return tuple(self._found)
