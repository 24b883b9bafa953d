"""From a model's list of files and a selection to the plan of what to fetch."""

from __future__ import annotations

from collections.abc import Sequence

from modelpack.plan.choosing import choose_files
from modelpack.plan.files import FetchPlan, ListedFile, PlannedFile, total_size
from modelpack.plan.selection import Selection


def plan_files(
    files: Sequence[ListedFile], selection: Selection, *, reference: str = "", digest: str = ""
) -> FetchPlan:
    """The plan as far as paths and kinds decide it: whole files. Raises InvalidSelection."""
    chosen, notes = choose_files(files, selection)
    return FetchPlan(reference, digest, selection, tuple(map(_whole, chosen)), total_size(files), notes)


def _whole(file: ListedFile) -> PlannedFile:
    return PlannedFile(file.path, file.digest, file.size, file.kind, file.encoding, (), file.sources)
