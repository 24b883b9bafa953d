"""The tensors of a weight file of either format, by what its name ends in."""

from __future__ import annotations

from modelpack.safetensors_header import parse_header
from modelpack.tensors.entries import FileTensors, ReadRange, TensorEntry
from modelpack.tensors.gguf import parse_gguf


def has_header(path: str) -> bool:
    """Whether a file of this name says which tensors it has where."""
    return path.lower().endswith((".safetensors", ".gguf"))


def read_tensors(read: ReadRange, size: int, path: str) -> FileTensors:
    """The tensors of a file of `size` bytes, by two ranged reads or few more. `path` names it in errors.

    Raises InvalidSafetensors, InvalidGguf, and what `read` raises.
    """
    if path.lower().endswith(".gguf"):
        gguf = parse_gguf(read, size, name=path)
        return FileTensors(path, gguf.data_start, gguf.tensors)
    header = parse_header(read, size, name=path)
    entries = tuple(
        TensorEntry(name, tensor.dtype, tensor.shape, tensor.start, tensor.end)
        for name, tensor in header.tensors.items()
    )
    return FileTensors(path, header.data_start, entries)
