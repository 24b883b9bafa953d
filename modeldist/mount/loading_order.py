"""In which order a model is loaded that nobody was seen loading: small files, headers of weights, weights. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from modeldist.mount.access_order import Range
from modelpack.filekinds import kind_of
from modelpack.safetensors_header import SafetensorsHeader

HEAD = 1 << 20  # bytes; loaders open all weight files before they read one: safetensors' headers of 10,000 tensors fit
_SUFFIXES = (".safetensors", ".gguf")
"""Of weights that are there in several formats, these are loaded."""
_DIGITS = re.compile(r"(\d+)")


def loading_order(sizes: Mapping[str, int]) -> tuple[Range, ...]:
    """Of files by path, sizes in bytes. Every byte of every file is in it once."""
    weights = sorted(filter(lambda path: _is_weight(path, sizes[path]), sizes), key=_by_format_and_number)
    others = sorted(sizes.keys() - set(weights), key=lambda path: (sizes[path], path))
    heads = [Range(path, 0, min(HEAD, sizes[path])) for path in weights]
    bodies = [Range(path, head.stop, sizes[path]) for path, head in zip(weights, heads, strict=True)]
    return tuple(_nonempty([*(Range(path, 0, sizes[path]) for path in others), *heads, *bodies]))


def tensor_order(path: str, header: SafetensorsHeader) -> tuple[Range, ...]:
    """The tensors of a file in the order of their names, which is that of safetensors' `keys()` and so of loaders;
    neighbours are one range. Mostly the file's own order, as safetensors writes files sorted by type and name."""
    order: list[Range] = []
    for _, tensor in sorted(header.tensors.items()):
        if order and order[-1].stop == tensor.start:
            order[-1] = Range(path, order[-1].start, tensor.end)
        else:
            order.append(Range(path, tensor.start, tensor.end))
    return tuple(_nonempty(order))


def _is_weight(path: str, size: int) -> bool:
    return kind_of(path.rpartition("/")[2], size) == "weight"


def _by_format_and_number(path: str) -> tuple[bool, list[str | int]]:
    """`model-10.safetensors` after `model-9.safetensors`. Texts and numbers alternate, so they compare."""
    parts = _DIGITS.split(path)
    return not path.endswith(_SUFFIXES), [int(part) if at % 2 else part for at, part in enumerate(parts)]


def _nonempty(ranges: Iterable[Range]) -> Iterable[Range]:
    return (found for found in ranges if found.start < found.stop)
