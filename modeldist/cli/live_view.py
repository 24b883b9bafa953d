"""A pull as a person watches it: one line per shard, one for the whole, redrawn in place on stderr.

model-00001-of-00004.safetensors  ━━━━━━━━━━━━━━━━━━━━  1.20 / 4.98 GB  origin 300 MB · peers 900 MB
…
org/model:tag  4.1 of 16.1 GB  1.31 GB/s  9 s left  origin 1.10 GB · peers 3.00 GB · here 0 B
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from modeldist.agent.progress import PullSnapshot, ShardProgress
from modeldist.cli import units
from modeldist.cli.rate_meter import RateMeter
from modeldist.cli.terminal import clean

INTERVAL = 0.1  # seconds between two drawings
_MARGIN = 4  # lines of the terminal left for the total, the sources and the shell's prompt
_BAR = 24  # columns
_NAMED_PARENTS = 4
_NAME = 12  # columns; a reference cut shorter than that says nothing
_ECHO = 3  # columns the last line leaves free: an echoed ^C must not wrap, or the display would leave a line behind


class LiveView:
    """Draws snapshots while it is entered, and leaves nothing behind: the summary is the caller's."""

    interval: float | None = INTERVAL

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._meter = RateMeter()

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the terminal back: cursor shown, lines cleared."""
        self._live.stop()

    def update(self, now: PullSnapshot) -> None:
        self._meter.add(now.seconds, now.origin + now.peers)
        drawing = draw(now, self._meter.per_second, self._console.height - _MARGIN, self._console.width)
        self._live.update(drawing, refresh=True)


def draw(now: PullSnapshot, per_second: float, lines: int, width: int) -> Group:
    """The drawing of one moment in at most `lines` shard lines."""
    shown = shown_shards(now.shards, max(1, lines))
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_column(width=_BAR)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis")
    table.expand = width > 60
    for shard in shown:
        table.add_row(
            Text(clean(shard.path)),
            ProgressBar(total=1.0, completed=1.0 if shard.complete else _arrived(shard) / max(1, shard.size)),
            f"{units.size(_arrived(shard))} / {units.size(shard.size)}",
            Text(sources(shard.origin, shard.peers, shard.local), style="dim"),
        )
    hidden = len(now.shards) - len(shown)
    rows: list[Table | Text] = [table]
    if hidden > 0:
        rows.append(Text(f"… and {hidden} more files", style="dim"))
    room = max(1, width - _ECHO)
    rows.append(Text(total_line(now, per_second, room), style="bold"))
    if names := parents_line(now):
        rows.append(Text(shortened(names, room), style="dim"))
    return Group(*rows)


def shown_shards(shards: tuple[ShardProgress, ...], lines: int) -> list[ShardProgress]:
    """All of them in their order, or, where they do not fit: those under way first, then those to come."""
    if len(shards) <= lines:
        return list(shards)

    def urgency(shard: ShardProgress) -> int:
        if shard.complete:
            return 2
        return 0 if _arrived(shard) else 1

    chosen = {shard.digest for shard in sorted(shards, key=urgency)[: lines - 1]}
    return [shard for shard in shards if shard.digest in chosen]


def total_line(now: PullSnapshot, per_second: float, width: int) -> str:
    """The whole pull in one line of at most `width` columns: the reference gives way first, then the sources."""
    name = clean(now.reference)
    if not now.size:
        return shortened(f"{name}  {now.state} …", width)
    parts = [f"{units.size(now.done)} of {units.size(now.size)}"]
    if per_second:
        parts.append(units.rate(per_second))
        parts.append(f"{units.duration(max(0, now.size - now.done) / per_second)} left")
    elif now.state != "pulling":
        parts.append(f"{now.state} …")
    parts.append(sources(now.origin, now.peers, now.local))
    while True:
        numbers = "  ".join(parts)
        room = width - len(numbers) - 2
        if len(name) <= room:
            return f"{name}  {numbers}"
        if room >= _NAME:
            return f"…{name[len(name) - room + 1 :]}  {numbers}"  # its end tells models apart
        if len(parts) == 1:
            return shortened(numbers, width)
        parts.pop()


def shortened(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def sources(origin: int, peers: int, local: int) -> str:
    """Where bytes came from, without the sources that gave none."""
    named = (("origin", origin), ("peers", peers), ("here", local))
    return " · ".join(f"{name} {units.size(count)}" for name, count in named if count)


def parents_line(now: PullSnapshot) -> str:
    """Which nodes gave how much, the largest first."""
    if not now.parents:
        return ""
    largest = sorted(now.parents, key=lambda parent: -parent.bytes)
    named = [f"{units.short_id(clean(parent.node))} {units.size(parent.bytes)}" for parent in largest[:_NAMED_PARENTS]]
    more = len(largest) - len(named)
    return "from " + ", ".join(named) + (f" and {more} more nodes" if more else "")


def _arrived(shard: ShardProgress) -> int:
    return min(shard.size, max(shard.done, shard.origin + shard.peers + shard.local))
