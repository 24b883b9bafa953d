"""`modeldist optimize --ranks`: a model's weights cut into files for ranks, and what that brings one of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from modeldist.cli import units
from modeldist.errors import Unsupported, UsageError

if TYPE_CHECKING:
    from modeldist.bench.cold_load import Loading
    from modelpack.plan.layout import Layout
    from modelpack.presharding import Cut
    from modelpack.sources import SourceFile


class OneRank(msgspec.Struct, frozen=True):
    """What a rank's pull moves of the weights, in bytes: as ranges of the files that were not cut, in whole pieces, and
    as files of its own."""

    rank: str
    moved_before: int
    moved_after: int


def cut_files(files: Sequence[SourceFile], layout: Layout) -> Cut:
    """The weights at the top of the model; of two sets of them the sharded ones. Raises UsageError, Unsupported,
    InvalidSafetensors, InvalidTensorIndex, InvalidConfig."""
    from modelpack.document import read_object
    from modelpack.errors import InvalidConfig
    from modelpack.plan.families import without_other_family
    from modelpack.plan.files import listed_names
    from modelpack.plan.model_shape import MAX_CONFIG, ModelShape, model_shape
    from modelpack.plan.rank_files import RANK_INDEX
    from modelpack.presharding import cut

    found = {file.path: file.file for file in files}
    if RANK_INDEX in found:
        raise UsageError("The model's weights are cut for ranks already.", remedy="Name the model that is not cut.")
    chosen, _ = without_other_family(listed_names((file.path, "", file.size) for file in files), None)
    weights = {file.path: found[file.path] for file in chosen if is_cut(file.path)}
    if not weights:
        raise Unsupported(
            "The model has no safetensors files that could be cut for ranks.",
            remedy="Convert its weights to safetensors first.",
        )
    shape = ModelShape(sliceable=False)
    if (config := found.get("config.json")) is not None:
        raw = config.read_bytes()[: MAX_CONFIG + 1]
        shape = model_shape(read_object(raw, limit=MAX_CONFIG, what="config.json", error=InvalidConfig))
    return cut(weights, shape, layout)


def is_cut(path: str) -> bool:
    """Whether a file is cut: config.json speaks of those beside it."""
    return "/" not in path and path.endswith(".safetensors")


def is_left_out(path: str) -> bool:
    """Whether a file is none of the model that is cut: such weights, and the index of where they were."""
    return is_cut(path) or ("/" not in path and path.endswith(".safetensors.index.json"))


def write_cut(cut: Cut, folder: Path, align: int) -> None:
    """The files, and the index of them. Raises OSError."""
    from modelpack.plan.rank_files import RANK_INDEX, encode_rank_files

    for file in cut.files:
        file.write(folder / file.path, align=align)
    (folder / RANK_INDEX).write_bytes(encode_rank_files(cut.index) + b"\n")


def one_rank(cut: Cut, folder: Path) -> OneRank:
    """The first."""
    from modelpack.chunk_table import chunk_size_for
    from modelpack.safetensors_header import read_header

    rank = cut.layout.ranks()[0]
    before = 0
    for source, ranges in cut.ranges_of(rank).items():
        size = source.stat().st_size
        piece = chunk_size_for(size)
        head = (0, read_header(source).data_start)
        touched = {
            at for start, stop in (head, *ranges) if start < stop for at in range(start // piece, -(-stop // piece))
        }
        before += sum(min(piece, size - at * piece) for at in touched)
    after = sum((folder / path).stat().st_size for path in cut.index.of(rank))
    return OneRank(str(rank), before, after)


def measured(cut: Cut, folder: Path, runs: int) -> tuple[Loading, Loading]:
    """The first rank's load from a cold page cache: its ranges of the files that were not cut, and its own files."""
    from modeldist.bench.cold_load import Reads, by_name, compare

    rank = cut.layout.ranks()[0]
    before = [Reads(source, ranges) for source, ranges in cut.ranges_of(rank).items()]
    return compare(before, by_name([folder / path for path in sorted(cut.index.of(rank))]), runs)


def told_of(found: OneRank) -> str:
    return (
        f"rank {found.rank}  moves {units.size(found.moved_after)} of weights; "
        f"of the model that is not cut, in whole pieces, {units.size(found.moved_before)}"
    )
