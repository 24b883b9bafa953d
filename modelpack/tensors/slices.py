"""What a safetensors file that was cut for ranks says of itself in its metadata.

modeldist.ranks     the layout: tp=4
modeldist.slices    {tensor: {"shape": of the whole, "rows": [[start, stop), …]}}, of tensors that are there in
                    part; the rows lie one below the other
"""

from __future__ import annotations

import msgspec

from modelpack.document import read_object
from modelpack.errors import InvalidSafetensors
from modelpack.safetensors_header import MAX_HEADER_BYTES, SafetensorsHeader

RANKS_KEY = "modeldist.ranks"
SLICES_KEY = "modeldist.slices"


class SliceOf(msgspec.Struct, frozen=True):
    """Which rows, half-open, a file has of a tensor, and the whole's shape."""

    shape: tuple[int, ...]
    rows: tuple[tuple[int, int], ...]


def slices_of(header: SafetensorsHeader, name: str) -> dict[str, SliceOf]:
    """Of a file, called `name` in errors, its tensors that are there in part. Raises InvalidSafetensors where its
    metadata contradicts its tensors."""
    text = header.metadata.get(SLICES_KEY)
    if text is None:
        return {}
    what = f"{SLICES_KEY} of {name}"
    document = read_object(text.encode(), limit=MAX_HEADER_BYTES, what=what, error=InvalidSafetensors)
    try:
        found = msgspec.convert(document, dict[str, SliceOf])
    except msgspec.ValidationError as error:
        raise contradicts(name, str(error)) from error
    for key, part in found.items():
        tensor = header.tensors.get(key)
        if tensor is None or not part.shape or not part.rows:
            raise contradicts(name, f"there is nothing of {key[:120]!r}")
        ends = [0, *(end for rows in part.rows for end in rows), part.shape[0]]
        if ends != sorted(ends) or tensor.shape != (sum(b - a for a, b in part.rows), *part.shape[1:]):
            raise contradicts(name, f"rows of {key[:120]!r} are not what the file has")
    return found


def metadata_of(layout: str, slices: dict[str, SliceOf]) -> dict[str, str]:
    """For a file that has those slices."""
    found = {RANKS_KEY: layout}
    if slices:
        found[SLICES_KEY] = msgspec.json.encode(slices, order="deterministic").decode()
    return found


def contradicts(name: str, problem: str) -> InvalidSafetensors:
    return InvalidSafetensors(
        f"{name} was cut for ranks, and what it says of that is wrong: {problem}.",
        remedy="Download it again, or cut the model anew (`modeldist optimize --ranks`).",
    )
