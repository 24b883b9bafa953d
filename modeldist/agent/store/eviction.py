"""Which artifacts go so that enough is free: the least recently used, and none in vain. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from modeldist.artifact import Digest


@dataclass(frozen=True)
class Holding:
    """An artifact as far as disk goes. `uses` are files that others may use too, by name; `own` bytes go with it."""

    artifact: Digest
    uses: frozenset[str]
    own: int = 0


def choose(
    order: Sequence[Holding],
    others: Iterable[Holding],
    sizes: Mapping[str, int],
    held: Collection[str],
    goal: int,
    may_go: Callable[[Digest], bool],
) -> tuple[list[Digest], int]:
    """(those of `order` to evict, bytes that frees): from the first on, until `goal` bytes are free or none is left.
    `others` stay. `sizes` in bytes by name, of which `held` stay whoever goes. `may_go` is asked of no more than
    need be."""
    users = Counter(name for holding in (*order, *others) for name in holding.uses)
    chosen: list[Holding] = []
    freed = 0
    for holding in order:
        if freed >= goal:
            break
        if not may_go(holding.artifact):
            continue
        chosen.append(holding)
        users.subtract(holding.uses)
        freed += holding.own + sum(sizes.get(name, 0) for name in holding.uses if not users[name] and name not in held)
    for holding in reversed(chosen.copy()):  # one that shares all it has with what stays
        if holding.own == 0 and all(users[name] or name in held or not sizes.get(name) for name in holding.uses):
            chosen.remove(holding)
            users.update(holding.uses)
    return [holding.artifact for holding in chosen], freed
