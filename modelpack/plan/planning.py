"""From a model's list of files and a selection to the plan of what to fetch.

    listing, Selection --choose_files--> files --headers, rules--> ranges of those --> FetchPlan

Ranges are planned of files alone whose ranges can be proven; of others the whole file is, when a byte of it is needed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import msgspec

from modelpack.artifact import check_bytes
from modelpack.document import read_object
from modelpack.errors import InvalidConfig, InvalidSelection
from modelpack.globs import Glob, any_matches
from modelpack.manifest import Descriptor
from modelpack.plan.choosing import choose_files, rank_of_file
from modelpack.plan.files import FetchPlan, ListedFile, PlannedFile, Ranges, SeenHeader, total_size
from modelpack.plan.model_shape import MAX_CONFIG, ModelShape, model_shape
from modelpack.plan.rank import Rank
from modelpack.plan.rank_files import MAX_RANK_INDEX, RANK_INDEX, RankFiles, parse_rank_files
from modelpack.plan.rank_rules import RankRules, expert_count, has_output_layer
from modelpack.plan.selection import Selection
from modelpack.tensors.entries import FileTensors, ReadRange, TensorEntry
from modelpack.tensors.headers import has_header, read_tensors
from modelpack.tensors.index import check_index

OpenRanges = Callable[[ListedFile], ReadRange]
"""Ranged reads of one file; called in the thread that reads."""

HEADERS_AT_ONCE = 8
MAX_HEADERS = 256 * 1024 * 1024  # bytes, of all weight files together; 200,000 tensors take 25 MB
LARGE_HEADER = 1024 * 1024  # bytes; a read of more is done one at a time


def plan_files(
    files: Sequence[ListedFile], selection: Selection, *, reference: str = "", digest: str = ""
) -> FetchPlan:
    """The plan as far as paths and kinds decide it: whole files. Raises InvalidSelection."""
    chosen, notes = choose_files(files, selection)
    return FetchPlan(reference, digest, selection, tuple(_planned(file) for file in chosen), total_size(files), notes)


def plan_fetch(
    files: Sequence[ListedFile],
    selection: Selection,
    open_ranges: OpenRanges,
    *,
    provable: Callable[[str], bool] = lambda digest: False,
    reference: str = "",
    digest: str = "",
) -> FetchPlan:
    """The plan to the byte. Headers of weight files are read only for tensors or a rank.

    `provable`: whether ranges of the file with this digest can be checked (the model has chunk digests of it).
    Raises InvalidSelection, InvalidSafetensors, InvalidGguf, InvalidTensorIndex, InvalidConfig, SizeMismatch,
    DigestMismatch, and what the reads raise.
    """
    plan = plan_files(files, selection, reference=reference, digest=digest)
    if not selection.needs_headers:
        return plan
    rank = selection.rank
    if rank and (cut := _rank_files(files, open_ranges)) is not None:
        plan = _of_cut(plan, cut)
        if not selection.tensors:
            return plan
        rank = Rank()  # files that are cut for it are its as they are
    kept = {file.path for file in plan.files}
    looked_into = [
        file
        for file in files
        if file.path in kept and file.encoding == "raw" and file.kind == "weight" and _opens(file, selection)
    ]
    if not looked_into:
        return msgspec.structs.replace(plan, notes=(*plan.notes, *_unopened(plan, ())))
    headers_of = _HeaderReads(open_ranges)
    with ThreadPoolExecutor(HEADERS_AT_ONCE, thread_name_prefix="headers") as pool:
        read = list(pool.map(headers_of.tensors, looked_into))
    _check_indexes(files, read, open_ranges)
    _check_names(read, selection)
    shape, every = _shape(files, open_ranges), [entry for file in read for entry in file.entries]
    rules = RankRules(rank, shape, experts=expert_count(every, shape), output_layer=has_output_layer(every))
    needed = _ranges_by_path(read, selection, rules)
    headers = {file.path: SeenHeader(file.data_start, file.header_digest) for file in read}
    planned, notes = [], []
    for file in plan.files:
        ranges = needed.get(file.path)
        if ranges is None:
            planned.append(file)
        elif provable(file.digest):
            planned.append(_with(file, ranges, headers[file.path]))
        elif len(ranges) > 1 or ranges[0][1] > headers[file.path].length or ranges == ((0, file.size),):
            planned.append(file)
            if sum(stop - start for start, stop in ranges) < file.size:
                notes.append(file.path)
    said = (*plan.notes, *rules.notes(rank), *_unproven(notes), *_unopened(plan, read))
    return FetchPlan(reference, digest, selection, tuple(planned), plan.size, said)


class _HeaderReads:
    """Headers of one model, within bounds for all of them together: read, they take several times their bytes."""

    def __init__(self, open_ranges: OpenRanges) -> None:
        self._open = open_ranges
        self._left = MAX_HEADERS
        self._counting = threading.Lock()
        self._one_large = threading.Lock()

    def tensors(self, file: ListedFile) -> FileTensors:
        """As `read_tensors`; InvalidSelection where those before it took all there is."""
        read = self._open(file)
        with ExitStack() as held:
            large = False

            def bounded(start: int, length: int) -> bytes:
                nonlocal large
                if length > LARGE_HEADER:
                    if not large:
                        held.enter_context(self._one_large)
                        large = True
                    self._count(length)
                return read(start, length)

            found = read_tensors(bounded, file.size, file.path)
            self._count(min(found.data_start, LARGE_HEADER))
            return found

    def _count(self, length: int) -> None:
        with self._counting:
            self._left -= length
            if self._left < 0:
                raise InvalidSelection(
                    f"The headers of the model's weights have more than {MAX_HEADERS} bytes.",
                    remedy="Select files by --only or --kind; tensors and ranks cannot be looked for in them.",
                )


def _opens(file: ListedFile, selection: Selection) -> bool:
    """A file of sharded_state is one rank's as a whole."""
    return has_header(file.path) and (bool(selection.tensors) or rank_of_file(file.path) is None)


def _rank_files(files: Sequence[ListedFile], open_ranges: OpenRanges) -> RankFiles | None:
    """What a model whose weights are cut for ranks says of its files; None of every other model."""
    found = next((file for file in files if file.path == RANK_INDEX and file.encoding == "raw"), None)
    if found is None:
        return None
    return parse_rank_files(whole_file(found, open_ranges, MAX_RANK_INDEX), {file.path for file in files})


def _of_cut(plan: FetchPlan, cut: RankFiles) -> FetchPlan:
    """Without the files of other ranks. Raises InvalidSelection."""
    mine = cut.of(plan.selection.rank)
    kept = tuple(file for file in plan.files if file.path in mine or file.path not in cut.files)
    if not kept:
        raise InvalidSelection(
            f"The selection {plan.selection} leaves nothing: what it names are files of other ranks.",
            remedy=f"Files of this one are {', '.join(sorted(mine)[:6])}.",
        )
    return msgspec.structs.replace(plan, files=kept)


def _planned(file: ListedFile) -> PlannedFile:
    return PlannedFile(file.path, file.digest, file.size, file.kind, file.encoding, (), file.sources)


def _with(file: PlannedFile, ranges: Ranges, header: SeenHeader) -> PlannedFile:
    if ranges == ((0, file.size),):
        return file
    return msgspec.structs.replace(file, ranges=ranges, header=header)


def _ranges_by_path(read: Sequence[FileTensors], selection: Selection, rules: RankRules) -> dict[str, Ranges]:
    """Of each file: its header, and what is needed of its tensors."""
    names = tuple(Glob(pattern) for pattern in selection.tensors)

    def wanted(path: str, entry: TensorEntry) -> Ranges:
        if names and not any_matches(names, entry.name):
            return ()
        # config.json speaks of the files beside it: a drafter or an encoder in a directory of its own has another
        return ((entry.start, entry.stop),) if "/" in path else rules.ranges(entry)

    return {
        file.path: joined(
            [(0, file.data_start), *(range_ for entry in file.entries for range_ in wanted(file.path, entry))]
        )
        for file in read
    }


def _check_names(read: Sequence[FileTensors], selection: Selection) -> None:
    names = tuple(Glob(pattern) for pattern in selection.tensors)
    known = [entry.name for file in read for entry in file.entries]
    if names and not any(any_matches(names, name) for name in known):
        raise InvalidSelection(
            f"The selection {selection} names none of the model's {len(known)} tensors.",
            remedy=f"Tensors of it are {', '.join(known[:4])}{', …' if known[4:] else ''}.",
        )


def joined(ranges: Sequence[tuple[int, int]]) -> Ranges:
    """In order, apart from each other, none of them empty."""
    found: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], stop))
        elif start < stop:
            found.append((start, stop))
    return tuple(found)


def _shape(files: Sequence[ListedFile], open_ranges: OpenRanges) -> ModelShape:
    """Of the config.json at the top; a model without one has no shape that rules could go by."""
    found = next((file for file in files if file.path == "config.json" and file.encoding == "raw"), None)
    if found is None:
        return ModelShape(sliceable=False)
    raw = whole_file(found, open_ranges, MAX_CONFIG)
    return model_shape(read_object(raw, limit=MAX_CONFIG, what="config.json", error=InvalidConfig))


def _check_indexes(files: Sequence[ListedFile], read: Sequence[FileTensors], open_ranges: OpenRanges) -> None:
    from modelpack.tensors.index import INDEX_SUFFIX, MAX_INDEX

    listed = {file.path for file in files}
    for file in files:
        if file.path.endswith(INDEX_SUFFIX) and file.encoding == "raw":
            check_index(whole_file(file, open_ranges, MAX_INDEX), file.path, read, listed)


def whole_file(file: ListedFile, open_ranges: OpenRanges, limit: int) -> bytes:
    """A small file, checked against its digest where that can be said of bytes alone. Raises InvalidConfig (larger than
    `limit` bytes), SizeMismatch, DigestMismatch."""
    if file.size > limit:
        raise InvalidConfig(f"{file.path} has {file.size} bytes; at most {limit} are read.")
    raw = open_ranges(file)(0, file.size) if file.size else b""
    if file.digest.startswith(("sha256:", "sha512:")):
        check_bytes(raw, Descriptor(media_type="application/json", digest=file.digest, size=file.size), file.path)
    return raw


def _unproven(paths: list[str]) -> tuple[str, ...]:
    if not paths:
        return ()
    more = f" and {len(paths) - 1} more" if paths[1:] else ""
    return (
        f"Whole files are fetched ({paths[0]}{more}) where parts of them would do: there is no chunk table that "
        "could prove a part. Building the model anew makes one, and copying it with its referrers takes it along.",
    )


def _unopened(plan: FetchPlan, read: Sequence[FileTensors]) -> tuple[str, ...]:
    """Weights of formats whose tensors nobody can find by a header, and those in archives."""
    seen = {file.path for file in read}
    others = [
        file.path
        for file in plan.files
        if file.kind == "weight" and file.path not in seen and rank_of_file(file.path) is None
    ]
    if not others:
        return ()
    more = f" and {len(others) - 1} more" if others[1:] else ""
    return (f"Taken whole, as their tensors cannot be found by a header: {others[0]}{more}.",)
