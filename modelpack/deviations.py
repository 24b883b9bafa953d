"""What an artifact does differently from the specification, and whether that stops the reader.

note       an older version of the specification, or a habit of one tool; nothing is lost
warning    information is missing or wrong, the files are whole
error      the specification is broken: strict readers refuse, lenient ones go on
"""

from __future__ import annotations

from typing import Literal

import msgspec

from modelpack.errors import ModelPackError
from modelpack.quoting import printable

Severity = Literal["note", "warning", "error"]
Mode = Literal["strict", "lenient"]

CONFIG_BLOB = "config-blob#"
"""In front of a pointer into the model config, as against one into the manifest."""


class Deviation(msgspec.Struct, frozen=True, omit_defaults=True):
    """One difference. `code` is stable; `message` is a sentence that names the thing.

    `pointer` (RFC 6901) leads to the member it is about: of the manifest, or of the model config where it starts with
    `CONFIG_BLOB`. `layer` counts from 0. Both are left out where they would not help.
    """

    code: str
    message: str
    severity: Severity
    pointer: str = ""
    layer: int | None = None


def pointer_to(*members: str | int) -> str:
    """A JSON pointer (RFC 6901): `pointer_to("layers", 0, "a/b")` is /layers/0/a~1b."""
    return "".join(f"/{str(member).replace('~', '~0').replace('/', '~1')}" for member in members)


class Deviations:
    """Collects differences while reading; in strict mode the first error ends the reading."""

    def __init__(self, mode: Mode) -> None:
        self.mode: Mode = mode
        self._found: list[Deviation] = []

    def note(self, code: str, message: str, pointer: str = "", layer: int | None = None) -> None:
        self._found.append(Deviation(code, printable(message), "note", pointer, layer))

    def warn(self, code: str, message: str, pointer: str = "", layer: int | None = None) -> None:
        self._found.append(Deviation(code, printable(message), "warning", pointer, layer))

    def error(
        self, code: str, message: str, error: type[ModelPackError], pointer: str = "", layer: int | None = None
    ) -> None:
        """Raises `error` in strict mode, with the deviation as its `deviation`."""
        found = Deviation(code, printable(message), "error", pointer, layer)
        if self.mode == "strict":
            refusal = error(message, remedy="Read it in lenient mode if you trust the publisher.")
            refusal.deviation = found
            raise refusal
        self._found.append(found)

    def extend(self, others: tuple[Deviation, ...]) -> None:
        self._found.extend(others)

    def found(self) -> tuple[Deviation, ...]:
        return tuple(self._found)
