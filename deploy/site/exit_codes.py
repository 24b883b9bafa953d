"""How `modeldist` ends: the causes of `modeldist.errors`, by their exit codes."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from modeldist import errors
from modeldist.errors import ModeldistError

_WITHOUT_AN_ERROR = {
    0: "It is done.",
    31: "`modeldist lint` found errors.",
    32: "`modeldist lint --fail-on warning` found warnings.",
    33: "`modeldist lint --fail-on note` found notes.",
}


def causes() -> Iterator[type[ModeldistError]]:
    """Every class of error that a user can meet, by exit code."""
    classes = (value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, ModeldistError))
    return iter(sorted(classes, key=lambda cause: (cause.exit_code, cause.code)))


def says(cause: type[ModeldistError]) -> str:
    """The first paragraph of its docstring."""
    return " ".join((inspect.getdoc(cause) or "").split("\n\n")[0].split())


def exit_codes() -> Iterator[tuple[int, str]]:
    """(code, what it means), in order."""
    meanings = {code: [what] for code, what in _WITHOUT_AN_ERROR.items()}
    for cause in causes():
        meanings.setdefault(cause.exit_code, []).append(says(cause))
    for code in sorted(meanings):
        yield code, " ".join(meanings[code])


def exit_codes_page() -> str:
    """In Markdown."""
    lines = [
        "# Exit codes and errors",
        "",
        "From [`modeldist/errors.py`](../../modeldist/errors.py). The command line ends with the exit code; REST, the",
        "agent's socket and the Python client name the same cause by its code.",
        "",
        "| exit code | code | class | |",
        "|---:|---|---|---|",
    ]
    rows = [(code, "", "", what) for code, what in _WITHOUT_AN_ERROR.items()]
    rows += [(cause.exit_code, f"`{cause.code}`", f"`{cause.__name__}`", says(cause)) for cause in causes()]
    lines += [f"| {code} | {name} | {kind} | {what} |" for code, name, kind, what in sorted(rows)]
    return "\n".join(lines) + "\n"
