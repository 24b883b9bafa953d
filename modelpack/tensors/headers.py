"""The tensors of a weight file of either format, by what its name ends in."""

from __future__ import annotations

from modelpack.digests import sha256_digest
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
    reads = _Recorded(read)
    if path.lower().endswith(".gguf"):
        gguf = parse_gguf(reads.read, size, name=path)
        start, entries = gguf.data_start, gguf.tensors
    else:
        header = parse_header(reads.read, size, name=path)
        start = header.data_start
        entries = tuple(
            TensorEntry(name, tensor.dtype, tensor.shape, tensor.start, tensor.end)
            for name, tensor in header.tensors.items()
        )
    return FileTensors(path, start, entries, sha256_digest(reads.first(start)))


class _Recorded:
    """Ranged reads, front to back, whose bytes are kept: the header that was understood is the one that is hashed."""

    def __init__(self, read: ReadRange) -> None:
        self._read = read
        self._kept: list[tuple[int, bytes]] = []

    def read(self, start: int, length: int) -> bytes:
        got = self._read(start, length)
        self._kept.append((start, got))
        return got

    def first(self, length: int) -> bytes:
        """The first bytes of the file; what was passed over is read now."""
        found = bytearray()
        for start, got in self._kept:
            if len(found) < min(start, length):
                found += self._read(len(found), min(start, length) - len(found))
            found += got[len(found) - start : length - start]
        return bytes(found) if len(found) == length else bytes(found) + self._read(len(found), length - len(found))
