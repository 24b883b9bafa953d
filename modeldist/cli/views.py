"""Who watches a pull: nobody, or a person at a terminal."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self

from modeldist.agent.progress import PullSnapshot
from modeldist.cli import units
from modeldist.cli.terminal import attended, clean


class View(Protocol):
    """Shown every change of a pull while it is entered. `interval` is how often it wants to look, in seconds; None:
    only at the end."""

    interval: float | None

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def update(self, now: PullSnapshot) -> None: ...
    def close(self) -> None:
        """Stop drawing at once; harmless when repeated."""


class NoView:
    """Shows nothing."""

    interval: float | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def update(self, now: PullSnapshot) -> None: ...

    def close(self) -> None: ...


def view(*, quiet: bool) -> View:
    """The live display when a person watches stderr."""
    if quiet or not attended():
        return NoView()
    from modeldist.cli.live_view import LiveView

    return LiveView()


def summary(now: PullSnapshot) -> str:
    """One line about a pull that is done."""
    fetched = now.origin + now.peers
    speed = f", {units.rate(fetched / now.seconds)}" if fetched and now.seconds else ""
    part = f" of {units.size(now.whole)}" if now.whole > now.needed else ""
    headers = f"; {units.size(now.headers)} of headers to choose by" if now.headers else ""
    index = f"; {units.size(now.index)} to find what other versions have" if now.index else ""
    return (
        f"{clean(now.reference)}: {units.size(now.size)}{part} in {units.duration(now.seconds)}{speed} "
        f"({units.size(now.origin)} from the origin, {units.size(now.peers)} from peers, "
        f"{units.size(now.local)} already here{headers}{index})"
    )
