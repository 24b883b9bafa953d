"""Which files a selection names, by path, kind and name of rank; nothing is read."""

from __future__ import annotations

import re
from collections.abc import Sequence

from modelpack.errors import InvalidSelection
from modelpack.globs import Glob, any_matches
from modelpack.plan.families import without_other_family
from modelpack.plan.files import ListedFile
from modelpack.plan.rank import Slot
from modelpack.plan.selection import Selection

_SHARDED_STATE = re.compile(r"model-rank-(\d{1,6})-part-\d+\.safetensors", re.ASCII)
"""Files of vLLM's load format sharded_state, written per rank of tensor parallelism."""


def choose_files(files: Sequence[ListedFile], selection: Selection) -> tuple[tuple[ListedFile, ...], tuple[str, ...]]:
    """(files, notes), in the order of the model. Raises InvalidSelection when none is left, or when files that were
    written for a number of ranks are asked for another one."""
    only, exclude = _globs(selection.only), _globs(selection.exclude)
    named = [
        file
        for file in files
        if (not selection.kinds or file.kind in selection.kinds)
        and (not only or any_matches(only, file.path))
        and not any_matches(exclude, file.path)
    ]
    chosen, notes = without_other_family(named, selection.weights)
    if selection.rank.tp:
        chosen = _of_rank(chosen, selection.rank.tp)
    if not chosen:
        raise InvalidSelection(
            f"The selection {selection} leaves nothing of the model's {len(files)} files.",
            remedy=f"Files of it are {', '.join(file.path for file in files[:6])}{', …' if len(files) > 6 else ''}.",
        )
    return chosen, (*notes, *_unseen(files, chosen, selection))


def rank_of_file(path: str) -> int | None:
    """The rank whose tensors alone a file of sharded_state has; None for every other file."""
    found = _SHARDED_STATE.fullmatch(path.rpartition("/")[2])
    return int(found[1]) if found else None


def _of_rank(files: tuple[ListedFile, ...], slot: Slot) -> tuple[ListedFile, ...]:
    ranks = {rank for file in files if (rank := rank_of_file(file.path)) is not None}
    if ranks and ranks != set(range(slot.size)):
        raise InvalidSelection(
            f"The model's sharded_state files are for {len(ranks)} ranks of tensor parallelism, not for {slot.size}.",
            remedy=f"Ask for a rank of tp=…/{len(ranks)}, or leave --rank out.",
        )
    return tuple(file for file in files if rank_of_file(file.path) in (None, slot.rank))


def _unseen(files: Sequence[ListedFile], chosen: tuple[ListedFile, ...], selection: Selection) -> tuple[str, ...]:
    """Archives that were left out by their label: what is in them is only known once they are here."""
    if not selection.only:
        return ()
    kept = {file.path for file in chosen}
    gone = [file.path for file in files if file.encoding != "raw" and file.path not in kept]
    if not gone:
        return ()
    return (f"Left out archives, whose files patterns cannot see: {', '.join(gone[:4])}{' …' if gone[4:] else ''}.",)


def _globs(patterns: tuple[str, ...]) -> tuple[Glob, ...]:
    return tuple(Glob(pattern) for pattern in patterns)
