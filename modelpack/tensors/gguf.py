"""The header of a GGUF file, versions 2 and 3, read without the tensors.

    "GGUF" | version u32 | tensors u64 | pairs u64 | pairs of key and value | tensor infos | padding | tensor bytes

    string: length u64, bytes         pair: key string, type u32, value         array: type u32, count u64, values
    tensor info: name string, dimensions u32, sizes u64 each (innermost first), type u32, offset u64

Offsets count from the tensor bytes, which begin at a multiple of `general.alignment`, as each tensor does. Source:
docs/gguf.md of ggml and gguf.cpp of llama.cpp, whose limits hold here too where it has some.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import msgspec

from modelpack.errors import InvalidGguf
from modelpack.tensors.entries import ReadRange, TensorEntry
from modelpack.tensors.ggml_types import GGML_TYPES
from modelpack.tensors.header_cursor import HeaderCursor

MAX_HEADER = 256 << 20  # bytes; vocabularies of a million tokens take 30 MiB
MAX_TENSORS = 1_000_000
MAX_PAIRS = 100_000
MAX_KEY = 65_535  # bytes, as the format says
MAX_STRING = 16 << 20  # bytes
MAX_TEXTS = 4_000_000  # in arrays, and arrays in arrays; large vocabularies have a million with their merges
MAX_DIMENSIONS = 8  # ggml has 4
MAX_DEPTH = 4  # of arrays in arrays
KEPT_VALUES = 1024  # of an array; longer ones are vocabularies

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_LEAST_BYTES = {**{kind: struct.calcsize(f"<{code}") for kind, code in _SCALARS.items()}, _STRING: 8, _ARRAY: 12}
_SPLIT_NAME = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf", re.ASCII)


class GgufArray(msgspec.Struct, frozen=True):
    """An array of metadata. `values` is None of one with more than KEPT_VALUES elements."""

    count: int
    values: tuple[Any, ...] | None


class GgufSplit(msgspec.Struct, frozen=True):
    """Of a model in several files: this one's number from 0, how many there are, and tensors of all."""

    number: int
    count: int
    tensors: int


class GgufHeader(msgspec.Struct, frozen=True):
    """`tensors` in the order of their bytes; [0, data_start) is the header."""

    version: int
    metadata: dict[str, Any]
    tensors: tuple[TensorEntry, ...]
    alignment: int
    data_start: int
    big_endian: bool = False

    @property
    def split(self) -> GgufSplit | None:
        """None of a model in one file."""
        said = (self.metadata.get(f"split.{key}") for key in ("no", "count", "tensors.count"))
        number, count, tensors = (value if type(value) is int else -1 for value in said)
        return GgufSplit(number, count, tensors) if number >= 0 and count > 1 else None


def read_gguf(path: Path, *, name: str = "") -> GgufHeader:
    """Of a file on disk, called `name` in errors. Raises InvalidGguf, OSError."""
    with path.open("rb") as file:

        def read_range(start: int, length: int) -> bytes:
            file.seek(start)
            return file.read(length)

        return parse_gguf(read_range, path.stat().st_size, name=name or path.name)


def parse_gguf(read: ReadRange, size: int, *, name: str = "the file") -> GgufHeader:
    """Of a file of `size` bytes, by ranged reads that grow as the header does. Raises InvalidGguf naming `name`."""
    return _Parser(read, size, name).header()


def check_splits(headers: Sequence[tuple[str, GgufHeader]]) -> None:
    """That the (path, header) of the files of one model are all of its files, each once. Raises InvalidGguf."""
    splits = [(path, split) for path, header in headers if (split := header.split)]
    if not splits:
        return
    path, first = splits[0]
    numbers = sorted(split.number for _, split in splits)
    if any((split.count, split.tensors) != (first.count, first.tensors) for _, split in splits):
        raise _invalid(path, "the files it belongs to do not agree on how many there are")
    if numbers != list(range(first.count)):
        raise _invalid(path, f"of its {first.count} files, the numbers {numbers[:8]} are here")
    if first.tensors != (total := sum(len(header.tensors) for _, header in headers)):
        raise _invalid(path, f"its files should have {first.tensors} tensors and have {total}")


def split_name(path: str) -> tuple[str, int, int] | None:
    """(the model's name, number from 1, count) of a path like `m-00001-of-00003.gguf`; None of every other."""
    found = _SPLIT_NAME.fullmatch(path)
    return (found[1], int(found[2]), int(found[3])) if found else None


class _Parser:
    def __init__(self, read: ReadRange, size: int, name: str) -> None:
        self._name = name
        self._size = size
        self._cursor = HeaderCursor(read, size, MAX_HEADER, self._refuse)
        self._order = "<"
        self._texts = 0

    def header(self) -> GgufHeader:
        if self._size < 24:
            raise self._refuse(f"it has only {self._size} bytes")
        if (magic := self._cursor.take(4)) != b"GGUF":
            raise self._refuse(f"it begins with {magic!r}")
        version = self._version()
        tensors, pairs = self._count(), self._count()
        if tensors > min(MAX_TENSORS, self._cursor.left // 24) or pairs > min(MAX_PAIRS, self._cursor.left // 13):
            raise self._refuse(f"{tensors} tensors and {pairs} pairs do not fit in it")
        metadata: dict[str, Any] = {}
        for _ in range(pairs):
            key = self._string(MAX_KEY)
            if key in metadata:
                raise self._refuse(f"it has the key {key[:120]!r} twice")
            metadata[key] = self._value(self._number("I"), 0)
        alignment = metadata.get("general.alignment", 32)
        if type(alignment) is not int or not 0 < alignment <= 1 << 20 or alignment & (alignment - 1):
            raise self._refuse(f"its alignment is {str(alignment)[:40]}")
        infos = [self._info() for _ in range(tensors)]
        data_start = _aligned(self._cursor.position, alignment) if tensors else self._cursor.position
        entries = self._placed(infos, data_start, alignment)
        return GgufHeader(version, metadata, entries, alignment, min(data_start, self._size), self._order == ">")

    def _version(self) -> int:
        version = int(self._number("I"))
        if version and not version & 0xFFFF:  # llama.cpp tells the other byte order so
            self._order = ">"
            version = int.from_bytes(version.to_bytes(4, "little"), "big")
        if version not in (2, 3):
            raise self._refuse(f"it has version {version}, and versions 2 and 3 can be read")
        return version

    # --- metadata ---

    def _value(self, kind: int, depth: int) -> Any:
        if kind == _STRING:
            return self._string(MAX_STRING)
        if kind == _ARRAY:
            return self._array(depth)
        if kind not in _SCALARS:
            raise self._refuse(f"it has metadata of the unknown type {kind}")
        return self._number(_SCALARS[kind])

    def _array(self, depth: int) -> GgufArray:
        kind, count = self._number("I"), self._count()
        if kind not in _LEAST_BYTES:
            raise self._refuse(f"it has an array of the unknown type {kind}")
        if depth >= MAX_DEPTH:
            raise self._refuse(f"it has arrays in each other more than {MAX_DEPTH} deep")
        if count > self._cursor.left // _LEAST_BYTES[kind]:
            raise self._refuse(f"an array of {count} values does not fit in it")
        if kind in (_STRING, _ARRAY):
            self._texts += count
            if self._texts > MAX_TEXTS:
                raise self._refuse(f"it has more than {MAX_TEXTS} texts")
        keep = count <= KEPT_VALUES
        if kind in _SCALARS and keep:
            raw = self._cursor.take(count * _LEAST_BYTES[kind])
            return GgufArray(count, struct.unpack(f"{self._order}{count}{_SCALARS[kind]}", raw))
        if kind in _SCALARS:
            self._cursor.skip(count * _LEAST_BYTES[kind])
            return GgufArray(count, None)
        if keep:
            return GgufArray(count, tuple(self._value(kind, depth + 1) for _ in range(count)))
        for _ in range(count):
            if kind == _STRING:
                self._cursor.skip(self._length(MAX_STRING))
            else:
                self._array(depth + 1)
        return GgufArray(count, None)

    def _string(self, limit: int) -> str:
        try:
            return self._cursor.take(self._length(limit)).decode()
        except UnicodeDecodeError:
            raise self._refuse("it has a text that is not UTF-8") from None

    def _length(self, limit: int) -> int:
        length = self._count()
        if length > limit:
            raise self._refuse(f"it has a text of {length} bytes; at most {limit} are read")
        return length

    def _count(self) -> int:
        return int(self._number("Q"))

    def _number(self, code: str) -> Any:
        return struct.unpack(self._order + code, self._cursor.take(struct.calcsize(f"<{code}")))[0]

    # --- tensors ---

    def _info(self) -> tuple[str, str, tuple[int, ...], int, int]:
        """(name, type, shape outermost first, offset, bytes)"""
        name, dimensions = self._string(MAX_KEY), self._number("I")
        if dimensions > MAX_DIMENSIONS:
            raise self._refuse(f"the tensor {name[:120]!r} has {dimensions} dimensions")
        inner = struct.unpack(f"{self._order}{dimensions}Q", self._cursor.take(8 * dimensions))
        number, offset = self._number("I"), self._count()
        kind = GGML_TYPES.get(number)
        if kind is None:
            raise self._refuse(f"the tensor {name[:120]!r} has the unknown type {number}")
        if inner and inner[0] % kind.block:
            raise self._refuse(f"rows of the tensor {name[:120]!r} are no whole blocks of {kind.block} ({kind.name})")
        return name, kind.name, inner[::-1], offset, prod(inner) // kind.block * kind.size

    def _placed(
        self, infos: list[tuple[str, str, tuple[int, ...], int, int]], data_start: int, alignment: int
    ) -> tuple[TensorEntry, ...]:
        if len({name for name, *_ in infos}) != len(infos):
            raise self._refuse("it has two tensors of one name")
        entries = []
        expected = 0
        for name, kind, shape, offset, size in sorted(infos, key=lambda info: (info[3], info[4])):
            if offset != expected:
                raise self._refuse(f"there is a hole or an overlap before the tensor {name[:120]!r}")
            expected = _aligned(offset + size, alignment)
            if data_start + offset + size > self._size:
                raise self._refuse(f"it ends within the tensor {name[:120]!r}")
            entries.append(TensorEntry(name, kind, shape, data_start + offset, data_start + offset + size))
        return tuple(entries)

    def _refuse(self, problem: str) -> InvalidGguf:
        return _invalid(self._name, problem)


def _aligned(position: int, alignment: int) -> int:
    return -(-position // alignment) * alignment


def _invalid(name: str, problem: str) -> InvalidGguf:
    return InvalidGguf(
        f"{name} is not a valid GGUF file: {problem}.",
        remedy="Download it again; a git-lfs pointer or an HTML page in its place is a common cause.",
    )
