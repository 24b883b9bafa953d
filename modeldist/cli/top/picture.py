"""One moment of an agent or a cluster, and its lines. Rates in bytes/s, sizes in bytes."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from modeldist.cli import units
from modeldist.cli.terminal import clean, table_lines

_NAMED = 4  # nodes in one line


class PullRow(msgspec.Struct, frozen=True, kw_only=True):
    """`received` of late, by the origin and by parents together; `bottleneck` as in REST's WhyNodeView, of most of its
    nodes. `nodes`: how many take part."""

    pull: str
    reference: str
    state: str
    size: int
    done: int
    origin: float
    peers: float
    nodes: int = 1
    bottleneck: str | None = None


class NodeRow(msgspec.Struct, frozen=True, kw_only=True):
    """All traffic of a node's interfaces. None: not known. `children`: who fetches from it."""

    node: str
    name: str
    received: float | None = None
    sent: float | None = None
    children: int = 0
    tasks: int = 0


class FeedRow(msgspec.Struct, frozen=True, kw_only=True):
    """Who feeds a node, with the rate where that is known, the fastest first."""

    node: str
    parents: tuple[tuple[str, float | None], ...]


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """`title` says what it is of. Rows are in the order they are shown in."""

    title: str
    received: float | None = None
    sent: float | None = None
    notes: tuple[str, ...] = ()
    pulls: tuple[PullRow, ...] = ()
    nodes: tuple[NodeRow, ...] = ()
    feeds: tuple[FeedRow, ...] = ()


def lines(picture: Picture) -> list[str]:
    """All of them, of any length."""
    found = [clean(picture.title)]
    moving = [
        f"{name} {units.rate(speed)}"
        for name, speed in (("receives", picture.received), ("sends", picture.sent))
        if speed is not None
    ]
    if moving:
        found.append("  " + ", ".join(moving))
    found += [f"  {clean(note)}" for note in picture.notes]
    found += _block(
        ("PULL", "REFERENCE", "STATE", "NODES", "DONE", "ORIGIN", "PEERS", "HELD UP BY"),
        [
            (
                units.short_id(row.pull),
                row.reference,
                row.state,
                str(row.nodes),
                f"{100 * row.done // row.size}%" if row.size else "",
                _rate(row.origin),
                _rate(row.peers),
                row.bottleneck or "",
            )
            for row in picture.pulls
        ],
        frozenset({3, 4, 5, 6}),
    )
    found += _block(
        ("NODE", "ID", "RECEIVES", "SENDS", "CHILDREN", "TASKS"),
        [
            (
                row.name,
                units.short_id(row.node),
                _rate(row.received),
                _rate(row.sent),
                str(row.children or ""),
                str(row.tasks or ""),
            )
            for row in picture.nodes
        ],
        frozenset({2, 3, 4, 5}),
    )
    found += _block(("NODE", "FED BY"), [(row.node, _fed_by(row)) for row in picture.feeds])
    if not picture.pulls:
        # a control plane does not know the pulls that began on nodes
        theirs = " that the control plane started; `modeldist top` on a node has its own" if picture.nodes else ""
        found += ["", f"No pull runs{theirs}."]
    return found


def _block(titles: Sequence[str], rows: Sequence[Sequence[str]], right: frozenset[int] = frozenset()) -> list[str]:
    return ["", *table_lines(titles, rows, right=right)] if rows else []


def _rate(speed: float | None) -> str:
    return units.rate(speed) if speed else "" if speed is not None else "?"


def _fed_by(row: FeedRow) -> str:
    named = [f"{name} {units.rate(speed)}" if speed else name for name, speed in row.parents[:_NAMED]]
    more = len(row.parents) - len(named)
    return ", ".join(named) + (f" and {more} more" if more > 0 else "")
