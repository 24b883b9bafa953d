"""The same weights in two sets of files: `consolidated*` as the trainer wrote them, and shards for the Hub's loaders.

Loaders differ in which they prefer (vLLM takes `consolidated*.safetensors` wherever there is one), so a directory with
both is twice the bytes and means two things.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from modelpack.plan.files import ListedFile
from modelpack.plan.selection import Family

_CONSOLIDATED = re.compile(r"consolidated\b.*\.(safetensors|pth|pt|bin)", re.IGNORECASE)
_SHARDED = re.compile(r"((pytorch_)?model\b.*|.*-\d+-of-\d+)\.(safetensors|bin)", re.IGNORECASE)


def family_of(path: str) -> Family | None:
    """Which set a file of this path belongs to; None: neither."""
    name = path.rpartition("/")[2]
    if _CONSOLIDATED.fullmatch(name):
        return "consolidated"
    return "sharded" if _SHARDED.fullmatch(name) else None


def without_other_family(
    files: Sequence[ListedFile], wanted: Family | None
) -> tuple[tuple[ListedFile, ...], tuple[str, ...]]:
    """(files, notes). Asked for one set that is not there, the other stays, which the notes say."""
    there = {family for file in files if (family := family_of(file.path))}
    if wanted == "all" or not there:
        return tuple(files), ()
    chosen: Family = wanted or ("sharded" if "sharded" in there else "consolidated")
    if chosen not in there:
        return tuple(files), (f"The model has no {chosen} weights; what it has was taken.",)
    if len(there) == 1:
        return tuple(files), ()
    other: Family = "consolidated" if chosen == "sharded" else "sharded"
    kept = tuple(file for file in files if family_of(file.path) != other)
    gone = [file for file in files if family_of(file.path) == other]
    if wanted is not None:
        return kept, ()
    return kept, (
        f"Left out {gone[0].path}{f' and {len(gone) - 1} more' if len(gone) > 1 else ''}: the same weights as the "
        f"sharded files. Ask for --weights consolidated or all to have them.",
    )
