"""The weights of a model cut into safetensors files for the ranks of one layout.

A tensor, or some rows of it, is in the file of exactly those ranks that load it: a rank's own, one that several share
(a stage of a pipeline, ranks with the same heads), or `model-shared.safetensors`, which all of them load. So nothing is
stored twice, but for rows that ranks need in part only (of the vocabulary, as engines differ in how they pad it). By
the rules of `modelpack.plan.rank_rules`, in the order of `modelpack.rearranging`; each file says in its metadata what
it has (`modelpack.tensors.slices`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

from modelpack.errors import InvalidSafetensors, InvalidTensorIndex
from modelpack.plan.files import Ranges
from modelpack.plan.layout import Layout
from modelpack.plan.model_shape import ModelShape
from modelpack.plan.planning import joined
from modelpack.plan.rank import Rank
from modelpack.plan.rank_files import RankFiles
from modelpack.plan.rank_rules import RankRules, expert_count, has_output_layer
from modelpack.rearranging import PAGE, Move, head_of, loading_order, write_moved
from modelpack.safetensors_header import SafetensorsHeader, read_header
from modelpack.tensors.entries import FileTensors, TensorEntry
from modelpack.tensors.index import tensor_places
from modelpack.tensors.slices import RANKS_KEY, SLICES_KEY, SliceOf, contradicts, metadata_of, slices_of


@dataclass(frozen=True, slots=True)
class CutTensor:
    """What a file gets of a tensor: bytes `ranges` of `source`, which are of that `shape`."""

    entry: TensorEntry
    source: Path
    ranges: Ranges
    rows: tuple[tuple[int, int], ...] = ()  # none: all of it

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(stop - start for start, stop in self.ranges)

    @property
    def shape(self) -> tuple[int, ...]:
        whole = self.entry.shape
        return (sum(stop - start for start, stop in self.rows), *whole[1:]) if self.rows else whole


@dataclass(frozen=True, slots=True)
class CutFile:
    """A file to be, of `path`, for those `ranks`."""

    path: str
    ranks: tuple[Rank, ...]
    tensors: Mapping[str, CutTensor]
    metadata: Mapping[str, str] = field(repr=False)

    def write(self, target: Path, *, align: int = PAGE) -> None:
        """Make `target`, which must not exist. Raises OSError, ValueError."""
        order = loading_order({name: tensor.size for name, tensor in self.tensors.items()}, align)
        tensors = [(name, self.tensors[name]) for name in order]
        head = head_of(
            [(name, tensor.entry.dtype, tensor.shape, tensor.size) for name, tensor in tensors], self.metadata, align
        )
        moves = [Move(tensor.source, start, stop) for _, tensor in tensors for start, stop in tensor.ranges]
        write_moved(head, moves, target)


@dataclass(frozen=True, slots=True)
class Cut:
    """All files of a layout; `notes` are sentences about what of it decides nothing."""

    layout: Layout
    files: tuple[CutFile, ...]
    notes: tuple[str, ...]

    @property
    def index(self) -> RankFiles:
        return RankFiles(self.layout, {file.path: file.ranks for file in self.files})

    def ranges_of(self, rank: Rank) -> dict[Path, Ranges]:
        """What `rank` loads of the files that were not cut, in the order of a loader that goes by name."""
        found: dict[Path, dict[str, Ranges]] = {}
        for file in self.files:
            if rank in file.ranks:
                for name, tensor in file.tensors.items():
                    found.setdefault(tensor.source, {})[name] = tensor.ranges
        return {
            source: tuple(range_ for _, ranges in sorted(tensors.items()) for range_ in ranges)
            for source, tensors in sorted(found.items())
        }


def cut(sources: Mapping[str, Path], model: ModelShape, layout: Layout) -> Cut:
    """`sources`: the safetensors files that config.json speaks of, by their paths in the model. Raises
    InvalidSafetensors, InvalidTensorIndex (two files have a tensor of one name), OSError."""
    headers = {path: read_header(file, name=path) for path, file in sources.items()}
    for path, header in headers.items():
        _check_whole(path, header)
    places = tensor_places(FileTensors(path, 0, entries_of(header)) for path, header in headers.items())
    entries = [place.entry for place in places.values()]
    ranks = layout.ranks()
    experts, output_layer = expert_count(entries, model), has_output_layer(entries)
    rules = [RankRules(rank, model, experts=experts, output_layer=output_layer) for rank in ranks]
    groups: dict[tuple[int, ...], dict[str, CutTensor]] = {}
    for name, place in places.items():
        for ranges, loading in _takers(place.entry, rules).items():
            rows = _rows_of(place.entry, ranges)
            groups.setdefault(loading, {})[name] = CutTensor(place.entry, sources[place.path], ranges, rows)
    said: dict[str, str] = {}
    for header in headers.values():
        said = {**_apart_from_ranks(header.metadata), **said}
    names = _names(list(groups), layout)
    files = []
    for loading, tensors in sorted(groups.items(), key=lambda group: (len(group[0]), group[0])):
        slices = {name: SliceOf(tensor.entry.shape, tensor.rows) for name, tensor in tensors.items() if tensor.rows}
        metadata = {**said, **metadata_of(str(layout), slices)}
        files.append(CutFile(names[loading], tuple(ranks[number] for number in loading), tensors, metadata))
    return Cut(layout, tuple(files), rules[0].notes(ranks[0]))


def _check_whole(path: str, header: SafetensorsHeader) -> None:
    """Raises InvalidSafetensors: rows that are left of a tensor would be cut, and passed off, as all of it."""
    if slices := slices_of(header, path):
        raise InvalidSafetensors(
            f"{path} has only some rows of the tensor {next(iter(slices))[:120]!r}: it was cut for ranks already.",
            remedy="Name the model that is not cut.",
        )


def _apart_from_ranks(metadata: Mapping[str, str]) -> dict[str, str]:
    """Without what it says of how a file was cut."""
    return {key: value for key, value in metadata.items() if key not in (RANKS_KEY, SLICES_KEY)}


def entries_of(header: SafetensorsHeader) -> tuple[TensorEntry, ...]:
    return tuple(
        TensorEntry(name, tensor.dtype, tensor.shape, tensor.start, tensor.end)
        for name, tensor in header.tensors.items()
    )


def put_together(files: Sequence[Path], target: Path) -> None:
    """Make `target`, which must not exist, one safetensors file of the whole tensors that all files of a layout have
    together. Raises InvalidSafetensors, InvalidTensorIndex where rows of a tensor are in none of them, OSError."""
    dtypes: dict[str, tuple[str, tuple[int, ...]]] = {}
    parts: dict[str, list[tuple[int, int, Move]]] = {}
    metadata: dict[str, str] = {}
    for file in files:
        header = read_header(file)
        slices = slices_of(header, file.name)
        metadata = {**header.metadata, **metadata}
        for name, tensor in header.tensors.items():
            part = slices.get(name, SliceOf(tensor.shape, ((0, tensor.shape[0] if tensor.shape else 1),)))
            if dtypes.setdefault(name, (tensor.dtype, part.shape)) != (tensor.dtype, part.shape):
                raise contradicts(file.name, f"another file has the tensor {name[:120]!r} otherwise")
            count, size, done = sum(stop - start for start, stop in part.rows), tensor.end - tensor.start, 0
            for start, stop in part.rows:  # of a whole one, whose rows may end within a byte, there is one range
                at, done = done * size // max(count, 1), done + stop - start
                move = Move(file, tensor.start + at, tensor.start + done * size // max(count, 1))
                parts.setdefault(name, []).append((start, stop, move))
    moves = {name: _whole(name, dtypes[name][1], found) for name, found in parts.items()}
    sizes = {name: sum(move.stop - move.start for move in found) for name, found in moves.items()}
    order = loading_order(sizes, PAGE)
    head = head_of([(name, *dtypes[name], sizes[name]) for name in order], _apart_from_ranks(metadata), PAGE)
    write_moved(head, [move for name in order for move in moves[name]], target)


def _whole(name: str, shape: tuple[int, ...], parts: list[tuple[int, int, Move]]) -> list[Move]:
    """Each row once, in order."""
    at = 0
    moves: list[Move] = []
    for start, stop, move in sorted(parts):
        if start > at:
            break
        if stop <= at and (moves or start < stop):
            continue
        row = (move.stop - move.start) // (stop - start) if start < stop else 0
        moves.append(move._replace(start=move.start + (at - start) * row))
        at = stop
    if at != (shape[0] if shape else 1):
        raise InvalidTensorIndex(
            f"Rows from {at} on of the tensor {name[:120]!r} are in none of the files.",
            remedy="Name the files of all ranks, and the shared ones.",
        )
    return moves


def _takers(entry: TensorEntry, rules: Sequence[RankRules]) -> dict[Ranges, tuple[int, ...]]:
    """Which ranks load exactly which bytes."""
    takers: dict[Ranges, list[int]] = {}
    for number, rule in enumerate(rules):
        if ranges := rule.ranges(entry):
            takers.setdefault(joined(ranges), []).append(number)
    whole = ((entry.start, entry.stop),)
    if entry.start == entry.stop or joined([range_ for ranges in takers for range_ in ranges]) != whole:
        return {whole: tuple(range(len(rules)))}  # empty, or some of it is nobody's by the rules: nothing may be lost
    return {ranges: tuple(loading) for ranges, loading in takers.items()}


def _rows_of(entry: TensorEntry, ranges: Ranges) -> tuple[tuple[int, int], ...]:
    if ranges == ((entry.start, entry.stop),):
        return ()
    row = entry.size // entry.shape[0]
    return tuple(((start - entry.start) // row, (stop - entry.start) // row) for start, stop in ranges)


# --- names ---


def _names(groups: Sequence[tuple[int, ...]], layout: Layout) -> dict[tuple[int, ...], str]:
    """model-tp0of4.safetensors, model-tp0-1of4-pp1of2.safetensors, model-shared.safetensors; numbers where ranks have
    nothing in common but this."""
    found: dict[tuple[int, ...], str] = {}
    for number, group in enumerate(sorted(groups)):
        found[group] = f"model-{_label(group, layout) or f'shared{number}'}.safetensors"
    return found


def _label(group: tuple[int, ...], layout: Layout) -> str:
    """Empty where the group is not all ranks of some runs of tp, pp and ep."""
    sizes: dict[str, int] = {"tp": layout.tp, "pp": layout.pp, "ep": layout.ep}
    each = {"tp": 1, "pp": layout.tp, "ep": layout.tp * layout.pp}
    spans = {kind: sorted({number // each[kind] % size for number in group}) for kind, size in sizes.items()}
    runs = all(span == list(range(span[0], span[-1] + 1)) for span in spans.values())
    if not runs or prod(map(len, spans.values())) != len(group):
        return ""
    parts = [
        f"{kind}{span[0]}{f'-{span[-1]}' if span[1:] else ''}of{sizes[kind]}"
        for kind, span in spans.items()
        if len(span) < sizes[kind]
    ]
    return "-".join(parts) or "shared"
