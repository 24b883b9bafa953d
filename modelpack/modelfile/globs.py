"""Which paths a pattern means, as Go's filepath.Match has it, with `**` for any number of directories.

`*` and `?` stay within one part of a path; a name that begins with a dot is only matched by a part that does.
"""

from __future__ import annotations

import re
from functools import lru_cache

from modelpack.errors import BuildError


def is_literal(glob: str) -> bool:
    """Whether it can match one path only."""
    return not any(character in "*?[" for character in re.sub(r"\\.", "", glob))


def matches(glob: str, path: str) -> bool:
    """Raises BuildError when the pattern is malformed."""
    parts = glob.removeprefix("./").split("/")
    return _match(tuple(parts), tuple(path.split("/")))


def _match(globs: tuple[str, ...], parts: tuple[str, ...]) -> bool:
    """Whether all parts are used up; `reached` are the parts that may come next, so that `**` costs no more than it
    must."""
    reached = {0}
    for glob in globs:
        if glob == "**":
            following: set[int] = set()
            for start in reached:
                stop = start
                following.add(stop)
                while stop < len(parts) and not parts[stop].startswith("."):
                    stop += 1
                    following.add(stop)
            reached = following
        else:
            part = _part(glob)
            reached = {at + 1 for at in reached if at < len(parts) and part.fullmatch(parts[at])}
        if not reached:
            return False
    return len(parts) in reached


@lru_cache(maxsize=4096)
def _part(glob: str) -> re.Pattern[str]:
    expression, at = "" if glob.startswith((".", "\\.")) else r"(?!\.)", 0
    while at < len(glob):
        character = glob[at]
        at += 1
        if character == "*":
            while glob[at : at + 1] == "*":
                at += 1
            expression += ".*?" if at < len(glob) else ".*"
        elif character == "?":
            expression += "."
        elif character == "[":
            end = _class_end(glob, at)
            expression += _class(glob, at, end)
            at = end + 1
        elif character == "\\" and at < len(glob):
            expression += re.escape(glob[at])
            at += 1
        else:
            expression += re.escape(character)
    return re.compile(expression, re.DOTALL)


def _class_end(glob: str, at: int) -> int:
    start = at + 1 if glob[at : at + 1] in ("^", "!") else at
    end = start
    while end < len(glob) and (glob[end] != "]" or end == start):
        end += 2 if glob[end] == "\\" else 1
    if end >= len(glob):
        raise BuildError(
            f"The pattern {glob!r} has a [ that is not closed.", remedy="Write \\[ for the character itself."
        )
    return end


def _class(glob: str, at: int, end: int) -> str:
    negated = glob[at] in "^!"
    body, at = "", at + negated
    while at < end:
        if glob[at] == "\\":
            at += 1
            body += re.escape(glob[at])
        elif glob[at] == "-":
            body += "-" if body and at + 1 < end else r"\-"
        else:
            body += re.escape(glob[at])
        at += 1
    try:
        re.compile(f"[{body}]")
    except re.error:
        raise BuildError(f"The pattern {glob!r} has a range that runs backwards.") from None
    return f"[{'^' * negated}{body}]"
