"""What strangers wrote, made fit to be shown: no control characters, no unbounded length."""

from __future__ import annotations

MAX_SHOWN = 2000  # characters of a sentence


def printable(text: str, limit: int = MAX_SHOWN) -> str:
    """`text` with what does not print escaped (a terminal would obey it) and, beyond `limit` characters, its middle cut
    out: a sentence names the thing at its beginning and the trouble at its end."""
    text = _cut(text, limit)
    if text.isprintable():
        return text
    return _cut("".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text), limit)


def _cut(text: str, limit: int) -> str:
    kept = limit // 2
    return text if len(text) <= limit else f"{text[:kept]} … {text[-kept:]}"
