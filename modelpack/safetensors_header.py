"""The header of a safetensors file, read without the tensors.

    u64 little-endian N | N bytes of JSON | tensor bytes, without holes

Source: the format section of the safetensors README and its reference implementation (header limit 100,000,000).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, Literal

import msgspec

from modelpack.document import read_object
from modelpack.errors import InvalidSafetensors

MAX_HEADER_BYTES = 100_000_000
MAX_DIMENSIONS = 64  # as many as numpy has; the product of a million would take minutes
FIRST_READ = 100_000  # bytes; holds the header of most files, so that one ranged read is enough

DTYPE_BITS = {
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "BOOL": 8,
    "U8": 8,
    "I8": 8,
    "F8_E4M3": 8,
    "F8_E5M2": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "I64": 64,
    "U64": 64,
    "F64": 64,
    "C64": 64,
}

ReadRange = Callable[[int, int], bytes]
"""`(start, length) -> bytes` of the file, exactly `length` of them."""


class Tensor(msgspec.Struct, frozen=True):
    """One tensor. Its bytes are [start, end) of the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def count(self) -> int:
        """Number of elements."""
        return prod(self.shape)


class SafetensorsHeader(msgspec.Struct, frozen=True, dict=True):
    """All tensors of one file by name, in file order, and the file's own metadata. `data_start` in bytes."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    data_start: int

    @cached_property
    def parameters(self) -> int:
        """Number of elements of all tensors."""
        return sum(tensor.count for tensor in self.tensors.values())

    @cached_property
    def dtypes(self) -> dict[str, int]:
        """dtype -> number of elements, most elements first."""
        counts: Counter[str] = Counter()
        for tensor in self.tensors.values():
            counts[tensor.dtype] += tensor.count
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def read_header(path: Path, *, name: str = "") -> SafetensorsHeader:
    """The header of a file on disk, called `name` in errors. Raises InvalidSafetensors, OSError."""
    with path.open("rb") as file:

        def read_range(start: int, length: int) -> bytes:
            file.seek(start)
            return file.read(length)

        return parse_header(read_range, path.stat().st_size, name=name or path.name)


def parse_header(read_range: ReadRange, size: int, *, name: str = "the file") -> SafetensorsHeader:
    """The header of a file of `size` bytes, by at most two ranged reads. Raises InvalidSafetensors naming `name`."""
    if size < 8:
        raise _invalid(name, f"it has only {size} bytes")
    first = read_range(0, min(size, 8 + FIRST_READ))
    length = int.from_bytes(first[:8], "little")
    if length > MAX_HEADER_BYTES:
        raise _invalid(name, f"its header would have {length} bytes; at most {MAX_HEADER_BYTES} are read", "cap")
    if 8 + length > size:
        raise _invalid(name, f"its header would have {length} bytes and the file has {size}")
    have = first[8 : 8 + length]
    raw = have + (read_range(8 + len(have), length - len(have)) if len(have) < length else b"")
    if len(raw) != length:
        raise _invalid(name, "it ends within its header")
    return _header(raw, size - 8 - length, name)


def _header(raw: bytes, data_size: int, name: str) -> SafetensorsHeader:
    if not raw.startswith(b"{"):
        raise _invalid(name, "its header does not start with a brace")
    document = read_object(raw, limit=MAX_HEADER_BYTES, what=f"header of {name}", error=InvalidSafetensors)
    metadata = document.pop("__metadata__", None)
    metadata = {} if metadata is None else metadata
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _invalid(name, "its __metadata__ is not an object of texts")
    data_start = 8 + len(raw)
    tensors = {key: _tensor(key, value, data_start, name) for key, value in document.items()}
    in_order = dict(sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)))
    position = data_start
    for key, tensor in in_order.items():
        if tensor.start != position:
            aspect: Literal["hole", "overlap"] = "hole" if tensor.start > position else "overlap"
            raise _invalid(name, f"there is {_A[aspect]} before the tensor {key[:120]!r}", aspect)
        position = tensor.end
    if position != data_start + data_size:
        problem = f"its tensors have {position - data_start} bytes and {data_size} follow the header"
        raise _invalid(name, problem, "length")
    return SafetensorsHeader(in_order, metadata, data_start)


def _tensor(key: str, value: Any, data_start: int, name: str) -> Tensor:
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise _invalid(name, f"the tensor {key[:120]!r} lacks dtype, shape or data_offsets, or has more")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        raise _invalid(name, f"the tensor {key[:120]!r} has the unknown dtype {str(dtype)[:40]!r}")
    if not _is_counts(shape) or not _is_counts(offsets) or len(offsets) != 2:
        raise _invalid(name, f"the shape or data_offsets of the tensor {key[:120]!r} are not lists of counts")
    if len(shape) > MAX_DIMENSIONS:
        raise _invalid(name, f"the tensor {key[:120]!r} has {len(shape)} dimensions; at most {MAX_DIMENSIONS} are read")
    if 0 in shape and prod(size for size in shape if size) >= 2**63:  # no framework makes such an array
        raise _invalid(name, f"the shape {shape} of the tensor {key[:120]!r} is larger than any array", "shape")
    tensor = Tensor(dtype, tuple(shape), data_start + offsets[0], data_start + offsets[1])
    if (tensor.end - tensor.start) * 8 != tensor.count * DTYPE_BITS[dtype]:
        problem = f"the tensor {key[:120]!r} has {tensor.end - tensor.start} bytes for its shape {shape}"
        raise _invalid(name, problem, "shape")
    return tensor


def _is_counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 2**63 for item in value)


_Aspect = Literal["header", "cap", "hole", "overlap", "shape", "length"]
_A = {"hole": "a hole", "overlap": "an overlap"}


def _invalid(name: str, problem: str, aspect: _Aspect = "header") -> InvalidSafetensors:
    error = InvalidSafetensors(
        f"{name} is not a valid safetensors file: {problem}.",
        remedy="Download it again; a git-lfs pointer or an HTML page in its place is a common cause.",
    )
    error.aspect = aspect
    return error
