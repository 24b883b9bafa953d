"""Which span what is done now belongs to: a `traceparent`, as https://www.w3.org/TR/trace-context/ has it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

HEADER = "traceparent"
VARIABLE = "TRACEPARENT"
"""Where a program finds it that was started by one which is traced, as OpenTelemetry has it."""

_SHAPE = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_current: ContextVar[str] = ContextVar("traceparent", default="")


def valid(text: str) -> str:
    """`text` where it is a traceparent, in the version that is spoken here; else "", and a new trace begins."""
    found = _SHAPE.fullmatch(text.strip()) if len(text) < 200 else None
    if found is None:
        return ""
    version, trace, span, flags, more = found.groups()
    if version == "ff" or (version == "00" and more) or not trace.strip("0") or not span.strip("0"):
        return ""
    return f"00-{trace}-{span}-{flags}"


def trace_id_of(traceparent: str) -> str:
    """32 hexadecimal digits; "" of none."""
    return traceparent[3:35]


def current() -> str:
    """A traceparent; "" outside of any trace."""
    return _current.get()


@contextmanager
def within(traceparent: str) -> Iterator[None]:
    """What is done within, and by tasks and `asyncio.to_thread` from there, belongs to this span. What is no
    traceparent changes nothing."""
    if not (traceparent := valid(traceparent)):
        yield
        return
    token = _current.set(traceparent)
    try:
        yield
    finally:
        _current.reset(token)


def headers() -> Mapping[str, str]:
    """Of a request that is made now."""
    return {HEADER: traceparent} if (traceparent := _current.get()) else {}
