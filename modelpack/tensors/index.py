"""Tensor → file → range, over all weight files of a model, and the index that its publisher wrote of that.

model.safetensors.index.json    {"metadata": {"total_size": bytes}, "weight_map": {tensor: file}}
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from modelpack.document import read_object
from modelpack.errors import InvalidTensorIndex
from modelpack.tensors.entries import FileTensors, TensorEntry

INDEX_SUFFIX = ".safetensors.index.json"
MAX_INDEX = 64 * 1024 * 1024  # bytes; the index of a model of a million tensors


class Place(NamedTuple):
    """A tensor, and the file that has it."""

    path: str
    entry: TensorEntry


def tensor_places(files: Iterable[FileTensors]) -> dict[str, Place]:
    """Where each tensor is. Raises InvalidTensorIndex when two files have one of the same name."""
    found: dict[str, Place] = {}
    for file in files:
        for entry in file.entries:
            if (other := found.setdefault(entry.name, Place(file.path, entry))).path != file.path:
                raise _invalid(f"{other.path} and {file.path} both have a tensor {entry.name[:120]!r}")
    return found


def parse_index(raw: bytes, path: str) -> dict[str, str]:
    """The file of each tensor, as paths from the model's top. `path` is the index's own. Raises InvalidTensorIndex."""
    document = read_object(raw, limit=MAX_INDEX, what=path, error=InvalidTensorIndex)
    weight_map = document.get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise _invalid(f"the weight_map of {path} is no object of texts")
    folder = path.rpartition("/")[0]
    return {tensor: f"{folder}/{name}" if folder else name for tensor, name in weight_map.items()}


def check_index(raw: bytes, path: str, files: Sequence[FileTensors], listed: Collection[str]) -> dict[str, str]:
    """The index at `path`, when it says of `files` what their headers say. `listed`: all paths the model has.

    Files it does not name, and tensors that it leaves out, are no contradiction: loaders skip them.
    Raises InvalidTensorIndex.
    """
    named = parse_index(raw, path)
    if missing := next((name for name in named.values() if name not in listed), None):
        raise _invalid(f"{path} names the file {missing[:200]!r}, which the model does not have")
    have = {file.path: {entry.name for entry in file.entries} for file in files}
    for tensor, name in named.items():
        if name in have and tensor not in have[name]:
            raise _invalid(f"{path} says that {name} has the tensor {tensor[:120]!r}, and it has not")
    return named


def _invalid(problem: str) -> InvalidTensorIndex:
    return InvalidTensorIndex(
        f"The model's index of tensors is wrong: {problem}.", remedy="Pull it whole, and tell its publisher."
    )
