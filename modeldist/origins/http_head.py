"""The head of an HTTP/1 answer, read strictly: what is not plainly one is an error, never guessed at. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

LONGEST = 64 << 10  # bytes of a head; servers send a few hundred, and signed redirects some thousand

_STATUS = rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [\t -~\x80-\xff]*)?\r?\n"
_FIELD = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*\r?\n"
_HEAD = re.compile(_STATUS + rb"((?:" + _FIELD + rb")*)\r?\n")
_END = re.compile(rb"\r?\n\r?\n")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[\t -~\x80-\xff]*)?")
_NO_BODY = frozenset({204, 304})


class BadAnswer(OSError):
    """What came is no HTTP. The text says how."""


@dataclass(frozen=True)
class Head:
    """`fields` by lower-case name; several of one name are joined by commas. `length` of the body in bytes: None where
    it is chunked, or goes on until the connection is closed. `closes`: the connection serves no other request."""

    status: int
    fields: dict[str, str]
    length: int | None
    chunked: bool
    closes: bool


def end_of_head(data: bytes, start: int = 0) -> int:
    """The position after the empty line; 0 when it has not come. No empty line begins before `start`."""
    found = _END.search(data, start)
    return found.end() if found else 0


def parse_head(data: bytes, method: str) -> Head:
    """`data` up to and with the empty line, in answer to a request by `method`. Raises BadAnswer."""
    found = _HEAD.fullmatch(data)
    if found is None:
        raise BadAnswer(f"no HTTP answer: {data[:80]!r}")
    status = int(found[2])
    fields: dict[str, str] = {}
    for line in found[3].decode("latin-1").split("\n")[:-1]:
        given, _, value = line.partition(":")
        name, value = given.lower(), value.strip("\t \r")
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    chunked = _is_chunked(fields)
    bodiless = method == "HEAD" or status < 200 or status in _NO_BODY
    length = 0 if bodiless else None if chunked else _length(fields)
    options = {option.strip().lower() for option in fields.get("connection", "").split(",")}
    persists = "close" not in options and (found[1] == b"1" or "keep-alive" in options)
    endless = length is None and not chunked
    contradiction = chunked and "content-length" in fields
    return Head(status, fields, length, chunked and not bodiless, endless or contradiction or not persists)


def _is_chunked(fields: dict[str, str]) -> bool:
    coding = fields.get("transfer-encoding", "").lower()
    if coding not in ("", "chunked"):
        raise BadAnswer(f"Transfer-Encoding {coding[:40]!r}, which was not asked for")
    return bool(coding)


def _length(fields: dict[str, str]) -> int | None:
    said = {part.strip() for part in fields["content-length"].split(",")} if "content-length" in fields else set()
    if not said:
        return None
    (one, *others) = said
    if others or not (one.isascii() and one.isdigit()) or len(one) > 18:
        raise BadAnswer(f"Content-Length {fields['content-length'][:40]!r}")
    return int(one)


def chunk_size(line: bytes) -> int:
    """Of a chunk that `line` (without its end) begins. Raises BadAnswer."""
    found = _CHUNK.fullmatch(line)
    if found is None:
        raise BadAnswer(f"no length of a chunk: {line[:40]!r}")
    return int(found[1], 16)
