"""What the rooms log with: structlog, imported with the first line that is logged.

A pull by the command line logs nothing and must not wait for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

_silent = False
_silent_here: ContextVar[bool] = ContextVar("silent", default=False)

_NOTHING: Mapping[str, str] = MappingProxyType({})
_about: ContextVar[Mapping[str, str]] = ContextVar("about", default=_NOTHING)


def silence() -> None:
    """From now on this process drops what it logs: what a person must know is said elsewhere."""
    global _silent  # noqa: PLW0603 - one log per process
    _silent = True


@contextmanager
def in_silence() -> Iterator[None]:
    """As `silence`, for what is done within, and by tasks and `asyncio.to_thread` from there: a program that uses this
    one as a library has a log of its own."""
    token = _silent_here.set(True)
    try:
        yield
    finally:
        _silent_here.reset(token)


def facts() -> Mapping[str, str]:
    """What every record from here has beside its own facts."""
    return _about.get()


@contextmanager
def about(**given: str) -> Iterator[None]:
    """Records of what is done within, and by tasks and `asyncio.to_thread` from there, have these facts too, whoever
    logs them. Names: docs/observability.md."""
    token = _about.set({**_about.get(), **{name: value for name, value in given.items() if value}})
    try:
        yield
    finally:
        _about.reset(token)


class Logger:
    """Events with facts, in the manner of structlog; `name` is the module's."""

    def __init__(self, name: str) -> None:
        self._name = name

    def debug(self, event: str, **facts: Any) -> None:
        self._log("debug", event, facts)

    def info(self, event: str, **facts: Any) -> None:
        self._log("info", event, facts)

    def warning(self, event: str, **facts: Any) -> None:
        self._log("warning", event, facts)

    def error(self, event: str, **facts: Any) -> None:
        self._log("error", event, facts)

    def exception(self, event: str, **facts: Any) -> None:
        """With the traceback of the exception that is being handled."""
        self._log("exception", event, facts)

    def _log(self, method: str, event: str, facts: dict[str, Any]) -> None:
        if _silent or _silent_here.get():
            return
        import structlog

        getattr(structlog.get_logger(self._name), method)(event, **facts)
