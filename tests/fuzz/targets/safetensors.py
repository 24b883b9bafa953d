"""Safetensors headers: what is read agrees with the reference implementation's reader, byte by byte."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

import numpy as np
import safetensors
from safetensors.numpy import save

from modelpack.safetensors_header import DTYPE_BITS, SafetensorsHeader, parse_header
from tests.fuzz.target import Target, json_words
from tests.refusals import value_of


def seeds() -> Iterator[bytes]:
    yield save({"a": np.zeros((2, 3), np.float32), "b": np.ones(4, np.uint8)}, {"format": "pt"})
    yield save({})
    yield written({"t": {"dtype": "F4", "shape": [3, 2], "data_offsets": [0, 3]}}, b"123")
    yield written({"t": {"dtype": "U8", "shape": [2**62] * 9, "data_offsets": [0, 0]}})
    yield written({"t": {"dtype": "BF16", "shape": [0, 2**40], "data_offsets": [0, 0]}, "__metadata__": {"\x1b": ""}})


def written(header: object, data: bytes = b"") -> bytes:
    raw = json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + data


def check(data: bytes) -> None:
    check_file(data)
    if len(data) > 8:  # else few changes get past the length
        end = data.find(b"}}", 8)
        end = len(data) if end < 0 else end + 2
        check_file((end - 8).to_bytes(8, "little") + data[8:])


def check_file(data: bytes) -> None:
    reads: list[int] = []

    def read_range(start: int, length: int) -> bytes:
        assert start >= 0 and length > 0
        reads.append(length)
        return data[start : start + length]

    header = value_of(partial(parse_header, read_range, len(data), name="m.safetensors"), naming="m.safetensors")
    assert len(reads) <= 2
    if header is not None:
        _check_header(header, data)


def _check_header(header: SafetensorsHeader, data: bytes) -> None:
    position = header.data_start
    for tensor in header.tensors.values():
        assert tensor.start == position
        assert (tensor.end - tensor.start) * 8 == tensor.count * DTYPE_BITS[tensor.dtype]
        position = tensor.end
    assert position == len(data)
    theirs = dict(safetensors.deserialize(data))
    assert theirs.keys() == header.tensors.keys()
    for name, tensor in header.tensors.items():
        assert tuple(theirs[name]["shape"]) == tensor.shape
        assert bytes(theirs[name]["data"]) == data[tensor.start : tensor.end]


WORDS = (
    *json_words("dtype", "shape", "data_offsets", "__metadata__", *DTYPE_BITS),
    *(b"[0,0]", b"[0,4]", b"4611686018427387904"),
)
TARGET = Target("safetensors", check, seeds, WORDS, longest=2048)
