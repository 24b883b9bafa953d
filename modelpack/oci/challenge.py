"""WWW-Authenticate (RFC 9110 section 11.6.1): what a server asks for after a 401."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SCHEME = re.compile(rf"\s*({_WORD})(?=\s|,|$)\s*")
_PARAMETER = re.compile(rf'\s*({_WORD})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_WORD}))\s*(?=,|$)')
_OPAQUE = re.compile(r"\s*[A-Za-z0-9._~+/-]+=*\s*(?=,|$)")
_ESCAPED = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class Challenge:
    """`scheme` and the parameter names are lower case."""

    scheme: str
    parameters: Mapping[str, str]


def parse_challenges(values: Iterable[str]) -> list[Challenge]:
    """Every challenge of the header's values, in order. What cannot be read ends its value: the challenges before it
    still count, as a server may speak schemes unknown here."""
    found: list[Challenge] = []
    for value in values:
        found += _parse(value)
    return found


def _parse(value: str) -> list[Challenge]:
    found: list[Challenge] = []
    parameters: dict[str, str] = {}  # of the last challenge found
    at = 0
    while at < len(value):
        if value[at] in ", \t":
            at += 1
            continue
        parameter = _PARAMETER.match(value, at)
        if parameter and found:
            name, quoted, plain = parameter.groups()
            text = plain if quoted is None else _ESCAPED.sub(r"\1", quoted)
            parameters.setdefault(name.lower(), text)
            at = parameter.end()
            continue
        scheme = _SCHEME.match(value, at)
        if not scheme or parameter:
            break
        parameters = {}
        found.append(Challenge(scheme[1].lower(), parameters))
        at = scheme.end()
        opaque = _OPAQUE.match(value, at)
        if opaque and not _PARAMETER.match(value, at) and at > scheme.end(1):
            at = opaque.end()
    return found
