"""Spans: begun, told what happens, ended. Where nothing is recorded they pass on the context they were given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, Protocol

from modeldist.tracing.context import current, valid, within

Kind = Literal["internal", "client", "server"]
Fact = str | int | float | bool
"""A value of an attribute. None of them is a secret: references and URLs go through `redaction.shown`, errors are told
by their code."""


class Span(Protocol):
    """From any thread. `context`: the traceparent for what belongs to it."""

    @property
    def context(self) -> str: ...
    def event(self, name: str, **facts: Fact) -> None: ...
    def say(self, **facts: Fact) -> None:
        """Facts about all of it."""

    def failed(self, cause: str) -> None:
        """`cause`: an error's code."""

    def end(self, at: int | None = None) -> None:
        """`at`: nanoseconds since the epoch; None: now. Harmless the second time."""


class Recorder(Protocol):
    """Makes spans (`exporting`)."""

    def begin(self, name: str, parent: str, kind: Kind, at: int | None, facts: dict[str, Fact]) -> Span: ...


class Unrecorded:
    """A span that is sent nowhere."""

    __slots__ = ("context",)

    def __init__(self, context: str = "") -> None:
        self.context = context

    def event(self, name: str, **facts: Fact) -> None:
        pass

    def say(self, **facts: Fact) -> None:
        pass

    def failed(self, cause: str) -> None:
        pass

    def end(self, at: int | None = None) -> None:
        pass


NO_SPAN = Unrecorded()
_recorder: Recorder | None = None


def record_with(recorder: Recorder | None) -> None:
    """From now on. None: nothing is recorded."""
    global _recorder  # noqa: PLW0603 - one per process
    _recorder = recorder


def active() -> bool:
    """Whether spans are recorded here."""
    return _recorder is not None


def begin(name: str, parent: str = "", /, *, kind: Kind = "internal", at: int | None = None, **facts: Fact) -> Span:
    """`parent`: a traceparent; "": a trace begins. `at`: nanoseconds since the epoch; None: now."""
    if _recorder is None:
        return Unrecorded(parent) if parent else NO_SPAN
    return _recorder.begin(name, parent, kind, at, facts)


@contextmanager
def span(name: str, parent: str | None = None, /, *, kind: Kind = "internal", **facts: Fact) -> Iterator[Span]:
    """Around what is done within. `parent` None: the one that this is done in already."""
    begun = begin(name, current() if parent is None else valid(parent), kind=kind, at=None, **facts)
    try:
        with within(begun.context):
            yield begun
    except BaseException as error:
        begun.failed(cause_of(error))
        raise
    finally:
        begun.end()


def cause_of(error: BaseException) -> str:
    """What is told of an error: its code or type, never its message, which may have a URL in it."""
    return str(getattr(error, "code", "") or type(error).__name__)
