"""The disks that a crash may leave, of a log of effects.

Of the process (kill -9): all effects before it. Of the machine, what no sync has made durable is lost or not:

- Each name effect (a link, an unlink, a rename, a folder made) by itself, unless its folder was synced after it. A
  rename is one effect, and synced with either folder. Nothing else is taken for an order: not that a journal of the
  file system keeps them in turn, and not that syncing a file makes its name durable.
- What was written to a file since its last sync: nothing, all, each beginning of it, half of the last write, all but
  the first, or its size with zeros for content (delayed allocation).

All combinations of some hundred effects are more than can be tried. Tried at every effect are: all subsets of the last
`WINDOW` names, with those before them kept, and lost; each one before them lost by itself, kept by itself; everything
after each point lost; each of these with the content of all files lost, kept, and blank; and each choice of content of
each file with all subsets of the last three names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain, combinations

from tests.crash.effects import (
    CONTENT,
    NAMES,
    Disk,
    Log,
    Made,
    Named,
    Renamed,
    Resized,
    Said,
    Synced,
    Tree,
    Unnamed,
    Written,
    content_of,
)

WINDOW = 4
_NEAR = 3
_BEGINNINGS = 4


@dataclass(frozen=True)
class State:
    """`crash` says what happened, for people; `promises` must be kept."""

    disk: Disk
    crash: str
    promises: frozenset[tuple[object, ...]]


def everything(log: Log) -> Disk:
    """All effects."""
    return _killed(log, len(log.effects))


def _killed(log: Log, until: int) -> Disk:
    return Disk(Tree(log, until, ()), {inode: every["all"] for inode, every in _contents(log, until).items()})


def after_kill(log: Log, every: int = 1) -> Iterator[State]:
    """The process ends before each effect, or each `every`th, and after the last."""
    for until in range(0, len(log.effects) + 1, every):
        if until and isinstance(log.effects[until - 1], Made):
            continue  # an inode without a name is nowhere
        disk = _killed(log, until)
        yield State(disk, f"killed after {_said(log, until)}", promised(log, until, lasting=False))


def after_power_loss(log: Log, every: int = 1) -> Iterator[State]:
    """Each `every`th of those that are tried."""
    number = 0
    for until in range(1, len(log.effects) + 1):
        newest = log.effects[until - 1]
        if isinstance(newest, Made) or (isinstance(newest, Said) and not newest.lasts and not newest.ends):
            continue
        promises = promised(log, until, lasting=True)
        contents = _contents(log, until)
        tree = cache(partial(Tree, log, until))
        for lost, choice, chosen in _choices(_pending_names(log, until), contents):
            if until - 1 in lost:
                continue  # as one effect earlier
            number += 1
            if number % every:
                continue
            disk = Disk(tree(lost), chosen)
            told = ", ".join(f"{at} {_short(log.effects[at])}" for at in sorted(lost)) or "no name"
            yield State(disk, f"power lost after {_said(log, until)}; content: {choice}; lost: {told}", promises)


def promised(log: Log, until: int, *, lasting: bool) -> frozenset[tuple[object, ...]]:
    found: set[tuple[object, ...]] = set()
    for effect in log.effects[:until]:
        if isinstance(effect, Said):
            if effect.ends:
                found = {each for each in found if each[: len(effect.promise)] != effect.promise}
            elif effect.lasts or not lasting:
                found.add(effect.promise)
    return frozenset(found)


def _pending_names(log: Log, until: int) -> list[int]:
    """Name effects that no sync has made durable."""
    synced: dict[int, int] = {}
    for at, effect in enumerate(log.effects[:until]):
        if isinstance(effect, Synced):
            synced[effect.inode] = at
    return [
        at
        for at, effect in enumerate(log.effects[:until])
        if isinstance(effect, NAMES) and all(synced.get(folder, -1) < at for folder in _folders(effect))
    ]


def _folders(effect: Named | Unnamed | Renamed) -> tuple[int, ...]:
    return (effect.folder, effect.to_folder) if isinstance(effect, Renamed) else (effect.folder,)


def _contents(log: Log, until: int) -> dict[int, Mapping[str, bytes]]:
    """What each file may hold, by what that is called."""
    before: dict[int, tuple[Written | Resized, ...]] = dict.fromkeys(log.contents, ())
    since: dict[int, tuple[Written | Resized, ...]] = {}
    for effect in log.effects[:until]:
        if isinstance(effect, Made) and effect.kind == "file":
            before[effect.inode] = ()
        elif isinstance(effect, CONTENT):
            since[effect.inode] = (*since.get(effect.inode, ()), effect)
        elif isinstance(effect, Synced) and effect.inode in before:
            before[effect.inode] += since.pop(effect.inode, ())
    return {
        inode: _variants(log.contents.get(inode, b""), synced, since.get(inode, ())) for inode, synced in before.items()
    }


@cache
def _variants(
    start: bytes, synced: tuple[Written | Resized, ...], since: tuple[Written | Resized, ...]
) -> Mapping[str, bytes]:
    content = content_of(start, synced)
    found = {"all": content_of(content, since)}
    if not since:
        return found
    found |= {"none": content, "blank": content_of(content, since, blank=True)}
    for count in range(max(1, len(since) - _BEGINNINGS), len(since)):
        found[f"first {count} of {len(since)}"] = content_of(content, since[:count])
    if len(since) > 1:
        found["all but the first"] = content_of(content, since[1:])
    if isinstance(last := since[-1], Written) and len(last.data) > 1:
        half = Written(last.inode, last.offset, last.data[: len(last.data) // 2])
        found["half of the last"] = content_of(content, (*since[:-1], half))
    return found


def _choices(
    names: list[int], contents: Mapping[int, Mapping[str, bytes]]
) -> Iterator[tuple[frozenset[int], str, dict[int, bytes]]]:
    everywhere = ("all", "none", "blank")
    alike = {
        choice: {inode: found.get(choice, found["all"]) for inode, found in contents.items()} for choice in everywhere
    }
    for lost in _losses(names):
        for choice in everywhere:
            yield lost, choice, alike[choice]
    singles = [
        (f"{choice} in file {inode}", {**alike["all"], inode: content})
        for inode, found in contents.items()
        for choice, content in found.items()
        if len(found) > 1
    ]
    for few in _subsets(names[-_NEAR:]):
        for choice, chosen in singles:
            yield frozenset(few), choice, chosen


def _losses(names: list[int]) -> Iterator[frozenset[int]]:
    older, last = names[:-WINDOW], names[-WINDOW:]
    seen = set()
    for lost in chain(
        _subsets(last),
        ((*older, *some) for some in _subsets(last) if older),
        ((each,) for each in older),
        (tuple(other for other in names if other != each) for each in names),
        (names[at:] for at in range(len(names))),
    ):
        if (found := frozenset(lost)) not in seen:
            seen.add(found)
            yield found


def _subsets(names: list[int]) -> Iterator[tuple[int, ...]]:
    return chain.from_iterable(combinations(names, count) for count in range(len(names) + 1))


def _said(log: Log, until: int) -> str:
    return f"{until} of {len(log.effects)} effects ({_short(log.effects[until - 1]) if until else 'none'})"


def _short(effect: object) -> str:
    if isinstance(effect, Written):
        return f"{len(effect.data)} bytes at {effect.offset} of file {effect.inode}"
    return str(effect)
