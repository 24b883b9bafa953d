"""GGUF headers: whatever the bytes say, tensors in the file, one behind the other, by few and bounded reads."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import partial

import msgspec

from modelpack.errors import InvalidGguf
from modelpack.tensors.gguf import KEPT_VALUES, GgufHeader, check_splits, parse_gguf
from tests.fuzz.target import Target
from tests.refusals import value_of

STRING, ARRAY = 8, 9


def text(value: bytes, order: str = "<") -> bytes:
    return struct.pack(f"{order}Q", len(value)) + value


def seeds() -> Iterator[bytes]:
    for order, version in (("<", 3), ("<", 2), (">", 3)):
        yield written(order, version)
    yield b"GGUF" + struct.pack("<IQQ", 3, 0, 0)
    yield b"GGUF" + struct.pack("<IQQ", 3, 2**63, 2**63) + bytes(64)
    deep = text(b"k") + struct.pack("<I", ARRAY) + struct.pack("<IQ", ARRAY, 1) * 6
    yield b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + deep + bytes(64)


def written(order: str, version: int) -> bytes:
    """Two tensors, scalars, texts, and arrays of both, one of them too long to be kept."""
    pairs = [
        text(b"general.architecture", order) + struct.pack(f"{order}I", STRING) + text(b"llama", order),
        text(b"general.alignment", order) + struct.pack(f"{order}II", 4, 32),
        text(b"split.no", order) + struct.pack(f"{order}IH", 2, 0),
        text(b"split.count", order) + struct.pack(f"{order}IH", 2, 2),
        text(b"split.tensors.count", order) + struct.pack(f"{order}Ii", 5, 4),
        text(b"flag", order) + struct.pack(f"{order}I?", 7, True),
        text(b"tokens", order)
        + struct.pack(f"{order}IIQ", ARRAY, STRING, 2)
        + text(b"a", order)
        + text(b"\xc3\xa9", order),
        text(b"scores", order) + struct.pack(f"{order}IIQ", ARRAY, 0, KEPT_VALUES + 1) + bytes(KEPT_VALUES + 1),
        text(b"nested", order) + struct.pack(f"{order}IIQ", ARRAY, ARRAY, 1) + struct.pack(f"{order}IQd", 12, 1, 0.5),
    ]
    infos = [
        text(b"blk.0.attn_q.weight", order) + struct.pack(f"{order}IQQIQ", 2, 4, 2, 0, 0),
        text(b"output_norm.weight", order) + struct.pack(f"{order}IQIQ", 1, 32, 8, 32),  # one block of Q8_0
    ]
    head = b"GGUF" + struct.pack(f"{order}IQQ", version, len(infos), len(pairs)) + b"".join(pairs + infos)
    return head.ljust(-(-len(head) // 32) * 32, b"\0") + bytes(32 + 34)


def check(data: bytes) -> None:
    reads: list[tuple[int, int]] = []

    def read(start: int, length: int) -> bytes:
        assert start >= 0 and length > 0 and start + length <= len(data)
        reads.append((start, length))
        return data[start : start + length]

    header = value_of(partial(parse_gguf, read, len(data), name="m.gguf"), naming="m.gguf")
    assert len(reads) < 100
    if header is not None:
        check_header(header, len(data))


def check_header(header: GgufHeader, size: int) -> None:
    position = 0
    for tensor in header.tensors:
        assert tensor.start % header.alignment == 0 or tensor.start == header.data_start
        assert header.data_start <= tensor.start <= tensor.stop <= size
        assert position <= tensor.start
        position = tensor.stop
    assert header.data_start <= size
    assert len({tensor.name for tensor in header.tensors}) == len(header.tensors)
    msgspec.json.encode({"tensors": header.tensors, "split": header.split})
    try:
        check_splits([("m.gguf", header)])
    except InvalidGguf:
        value_of(partial(check_splits, [("m.gguf", header)]), naming="m.gguf")


WORDS = (
    *(struct.pack("<I", kind) for kind in range(13)),
    *(struct.pack("<Q", number) for number in (1, 2, 4, 32, 2**16, 2**31, 2**63, 2**64 - 1)),
    *(b"GGUF", b"general.alignment", b"split.count", text(b"a"), text(b""), text(b"general.alignment")),
)
TARGET = Target("gguf", check, seeds, WORDS, longest=3000)
