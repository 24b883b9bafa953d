"""Patterns for file and tensor names, as doublestar's (modctl `fetch --patterns` uses it) reads them.

    *        any characters but /             ?      one character but /
    **       any directories, as a whole part  [a-z] [^a] [!a]   one character of a class, or of none in it
    {a,b}    one of several                    \\x    x itself

`*.json` is a file of the top directory; `**/*.json` is one of any directory, the top one included.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from modelpack.errors import InvalidSelection

MAX_PATTERN = 512  # characters
MAX_ALTERNATIVES = 256  # that the braces of one pattern may stand for
MAX_ANY_DIRECTORIES = 3  # `**` in one pattern: each multiplies what a match may cost


class Glob:
    """One pattern, compiled. Equal patterns are equal."""

    def __init__(self, pattern: str) -> None:
        """Raises InvalidSelection."""
        if not 0 < len(pattern) <= MAX_PATTERN:
            raise _invalid(pattern, f"it has {len(pattern)} characters, not 1 to {MAX_PATTERN}")
        if any("\ud800" <= sign <= "\udfff" for sign in pattern):
            raise _invalid(pattern, "it contains half a character")
        self.pattern = pattern
        self._matches = re.compile("|".join(_regex(each, pattern) for each in _expanded(pattern)), re.DOTALL).fullmatch

    def matches(self, name: str) -> bool:
        return self._matches(name) is not None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Glob) and other.pattern == self.pattern

    def __hash__(self) -> int:
        return hash(self.pattern)

    def __repr__(self) -> str:
        return f"Glob({self.pattern!r})"


def any_matches(globs: Iterable[Glob], name: str) -> bool:
    return any(glob.matches(name) for glob in globs)


def _expanded(pattern: str) -> list[str]:
    """The patterns without braces that one with braces stands for. Braces may nest."""
    done: list[str] = []
    waiting = [pattern]
    while waiting:
        current = waiting.pop()
        found = _first_braces(current, pattern)
        if found is None:
            done.append(current)
            continue
        start, stop, alternatives = found
        waiting += [current[:start] + each + current[stop:] for each in reversed(alternatives)]
        if len(waiting) + len(done) > MAX_ALTERNATIVES:
            raise _invalid(pattern, f"its braces stand for more than {MAX_ALTERNATIVES} patterns")
    return done


def _first_braces(text: str, pattern: str) -> tuple[int, int, list[str]] | None:
    """(start, stop, alternatives) of the first pair, of a text whose backslashes and classes are left alone."""
    depth, start, cut, position = 0, 0, 0, 0
    alternatives: list[str] = []
    while position < len(text):
        character = text[position]
        if character == "\\":
            position += 2
            continue
        if character == "[":
            position = _class_end(text, position, pattern)
            continue
        if character == "{":
            depth += 1
            if depth == 1:
                start, cut = position, position + 1
        elif character == "}" and depth:
            depth -= 1
            if depth == 0:
                return start, position + 1, [*alternatives, text[cut:position]]
        elif character == "," and depth == 1:
            alternatives.append(text[cut:position])
            cut = position + 1
        elif character == "}":
            raise _invalid(pattern, "a } has no {")
        position += 1
    if depth:
        raise _invalid(pattern, "a { has no }")
    return None


def _class_end(text: str, start: int, pattern: str) -> int:
    """Behind the ] of the class that starts at `start`."""
    position = start + 1
    if text[position : position + 1] in ("^", "!"):
        position += 1
    first = position
    while position < len(text):
        if text[position] == "\\":
            position += 2
            continue
        if text[position] == "]" and position > first:
            return position + 1
        position += 1
    raise _invalid(pattern, "a [ has no ]")


def _regex(plain: str, pattern: str) -> str:
    """Of one pattern without braces."""
    parts: list[str] = []
    for part in plain.split("/"):
        if not (part == "**" and parts and parts[-1] == "**"):
            parts.append(part)
    if sum(part == "**" for part in parts) > MAX_ANY_DIRECTORIES:
        raise _invalid(pattern, f"it has more than {MAX_ANY_DIRECTORIES} times **")
    regex = ""
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        if part == "**":
            if last and regex:
                regex = regex.removesuffix("/") + "(?:/.*)?"
            else:
                regex += ".*" if last else "(?:[^/]+/)*"
        else:
            regex += _part_regex(part, pattern) + ("" if last else "/")
    return regex


def _part_regex(part: str, pattern: str) -> str:
    """Between two slashes. What stands between two stars is taken where it first occurs and never looked for again,
    so that no pattern takes more than quadratic time."""
    chunks: list[str] = []
    position, chunk = 0, ""
    while position < len(part):
        character = part[position]
        if character == "*":
            if not (chunks and not chunk):  # stars in a row are one
                chunks.append(chunk)
            chunk = ""
            position += 1
        elif character == "?":
            chunk += "[^/]"
            position += 1
        elif character == "[":
            end = _class_end(part, position, pattern)
            chunk += _class_regex(part[position + 1 : end - 1], pattern)
            position = end
        elif character == "\\":
            if position + 1 == len(part):
                raise _invalid(pattern, "it ends in a backslash")
            chunk += re.escape(part[position + 1])
            position += 2
        else:
            chunk += re.escape(character)
            position += 1
    if not chunks:
        return chunk
    first, *middle = chunks
    return first + "".join(f"(?>[^/]*?{each})" for each in middle) + "[^/]*" + chunk


def _class_regex(body: str, pattern: str) -> str:
    negated = body[:1] in ("^", "!")
    characters = [
        (found[1] or found[0], found[0] == "-")  # the character, and whether it may stand between two others
        for found in re.finditer(r"\\(.)|.", body[1:] if negated else body, flags=re.DOTALL)
    ]
    regex, position = "", 0
    while position < len(characters):
        first = characters[position][0]
        if position + 2 < len(characters) and characters[position + 1][1]:
            last = characters[position + 2][0]
            if first > last:
                raise _invalid(pattern, f"the class [{body[:40]}] has the range {first}-{last}, which is backwards")
            regex += f"{re.escape(first)}-{re.escape(last)}"
            position += 3
        else:
            regex += re.escape(first)
            position += 1
    return f"(?!/)[{'^' if negated else ''}{regex}]"


def _invalid(pattern: str, problem: str) -> InvalidSelection:
    return InvalidSelection(
        f"The pattern {pattern[:100]!r} is not valid: {problem}.",
        remedy="Patterns are written like '*.json', '**/*.safetensors' or 'onnx/{a,b}/**'.",
    )
