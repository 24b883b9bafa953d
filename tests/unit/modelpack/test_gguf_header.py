"""GGUF headers: what the `gguf` package writes, and what nobody should."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

from modelpack.errors import InvalidGguf
from modelpack.plan.files import listed_names
from modelpack.plan.planning import plan_fetch
from modelpack.plan.selection import Selection
from modelpack.tensors.ggml_types import GGML_TYPES
from modelpack.tensors.gguf import GgufArray, GgufHeader, GgufSplit, check_splits, parse_gguf, read_gguf, split_name


def write(path: Path, *, tokens: int = 5000, alignment: int = 0, endianess: gguf.GGUFEndian | None = None) -> Path:
    writer = gguf.GGUFWriter(path, "llama", endianess=endianess or gguf.GGUFEndian.LITTLE)
    if alignment:
        writer.add_custom_alignment(alignment)
    for name, value in (("u8", 200), ("u16", 60_000), ("u32", 4_000_000_000), ("u64", 1 << 63)):
        getattr(writer, f"add_uint{name[1:]}")(f"test.{name}", value)
    for name, value in (("i8", -3), ("i16", -300), ("i32", -70_000), ("i64", -(1 << 40))):
        getattr(writer, f"add_int{name[1:]}")(f"test.{name}", value)
    writer.add_float32("test.f32", 0.5)
    writer.add_float64("test.f64", 0.1)
    writer.add_bool("test.bool", True)
    writer.add_string("test.text", "Grüße")
    writer.add_array("test.numbers", [1, 2, 3])
    writer.add_array("test.nested", [[1, 2], [3, 4]])
    writer.add_array("tokenizer.ggml.tokens", [f"token number {number}" for number in range(tokens)])
    writer.add_array("tokenizer.ggml.scores", [0.5] * tokens)
    rng = np.random.default_rng(1)
    writer.add_tensor("token_embd.weight", rng.standard_normal((6, 32)).astype(np.float32))
    writer.add_tensor("blk.0.attn_q.weight", rng.standard_normal((3, 5)).astype(np.float16))
    quantised = gguf.quantize(rng.standard_normal((4, 64)).astype(np.float32), GGMLQuantizationType.Q8_0)
    writer.add_tensor("blk.1.ffn_up.weight", quantised, raw_dtype=GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("alignment", [0, 256])
def test_it_reads_what_the_gguf_package_writes(tmp_path: Path, alignment: int) -> None:
    path = write(tmp_path / "m.gguf", alignment=alignment)
    header = read_gguf(path)
    theirs = gguf.GGUFReader(path)
    assert (header.version, header.alignment) == (3, alignment or 32)
    content = path.read_bytes()
    assert [entry.name for entry in header.tensors] == [tensor.name for tensor in theirs.tensors]
    for mine, tensor in zip(header.tensors, theirs.tensors, strict=True):
        assert content[mine.start : mine.stop] == tensor.data.tobytes()
        assert (mine.start, mine.shape) == (tensor.data_offset, tuple(map(int, tensor.shape[::-1])))
        assert mine.dtype == tensor.tensor_type.name
    said = header.metadata
    assert (said["test.u8"], said["test.u64"], said["test.i64"]) == (200, 1 << 63, -(1 << 40))
    assert (said["test.f32"], said["test.f64"], said["test.bool"], said["test.text"]) == (0.5, 0.1, True, "Grüße")
    assert said["test.numbers"] == GgufArray(3, (1, 2, 3))
    assert said["test.nested"].values == (GgufArray(2, (1, 2)), GgufArray(2, (3, 4)))
    assert said["tokenizer.ggml.tokens"] == GgufArray(5000, None)


def test_big_endian_files_are_read_too(tmp_path: Path) -> None:
    header = read_gguf(write(tmp_path / "big.gguf", endianess=gguf.GGUFEndian.BIG))
    assert header.big_endian and header.metadata["test.u32"] == 4_000_000_000
    assert [entry.shape for entry in header.tensors] == [(6, 32), (3, 5), (4, 64)]


def test_reads_grow_and_leave_out_what_need_not_be_read(tmp_path: Path) -> None:
    content = write(tmp_path / "m.gguf", tokens=100_000).read_bytes()
    reads: list[tuple[int, int]] = []

    def read(start: int, length: int) -> bytes:
        reads.append((start, length))
        return content[start : start + length]

    header = parse_gguf(read, len(content))
    assert reads[0] == (0, 100_000)
    assert len(reads) <= 9
    assert sum(length for _, length in reads) <= len(content)
    assert header.data_start > 2_500_000


def test_types_are_those_of_ggml() -> None:
    theirs = {int(kind): (kind.name, *GGML_QUANT_SIZES[kind]) for kind in GGML_QUANT_SIZES}
    assert {number: tuple(kind) for number, kind in GGML_TYPES.items()} == theirs


def test_a_model_in_several_files(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama", split_max_tensors=2)
    for number in range(5):
        writer.add_tensor(f"blk.{number}.weight", np.zeros((2, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    paths = sorted(tmp_path.glob("m-*.gguf"))
    headers = [(path.name, read_gguf(path)) for path in paths]
    assert [header.split for _, header in headers] == [GgufSplit(number, 3, 5) for number in range(3)]
    assert split_name(paths[1].name) == ("m", 2, 3)
    check_splits(headers)
    with pytest.raises(InvalidGguf, match="of its 3 files"):
        check_splits(headers[:2])


def test_a_plan_by_tensors_of_a_gguf(tmp_path: Path) -> None:
    content = write(tmp_path / "m.gguf").read_bytes()
    header = read_gguf(tmp_path / "m.gguf")
    files = listed_names([("m.gguf", "sha256:" + "0" * 64, len(content))])
    plan = plan_fetch(
        files,
        Selection.of(tensors=["blk.1.*"]),
        lambda _: lambda start, length: content[start : start + length],
        provable=lambda _: True,
    )
    entry = header.tensors[2]
    assert plan.files[0].ranges == ((0, header.data_start), (entry.start, entry.stop))


def start(tensors: int, pairs: int, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, pairs)


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def info(name: bytes, offset: int, *, kind: int = 0, shape: tuple[int, ...] = (8,)) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def parse(content: bytes) -> GgufHeader:
    return parse_gguf(lambda start, length: content[start : start + length], len(content), name="bad.gguf")


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "short": (lambda: b"GGUF", "only 4 bytes"),
    "a pointer": (lambda: b"version https://git-lfs.github.com/spec/v1\n", "begins with"),
    "version 1": (lambda: start(0, 0, 1), "version 1"),
    "tensors": (lambda: start(1 << 62, 0) + bytes(99), "do not fit"),
    "pairs": (lambda: start(0, 1 << 62) + bytes(99), "do not fit"),
    "long key": (lambda: start(0, 1) + struct.pack("<Q", 1 << 60) + bytes(99), "text of"),
    "array": (lambda: start(0, 1) + text(b"k") + struct.pack("<IIQ", 9, 4, 1 << 60) + bytes(99), "does not fit"),
    "type": (lambda: start(0, 1) + text(b"k") + struct.pack("<I", 77) + bytes(99), "unknown type 77"),
    "array type": (lambda: start(0, 1) + text(b"k") + struct.pack("<IIQ", 9, 77, 1) + bytes(99), "unknown type 77"),
    "deep": (
        lambda: start(0, 1) + text(b"k") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 50 + bytes(99),
        "deep",
    ),
    "too many texts": (
        lambda: start(0, 1) + text(b"k") + struct.pack("<IIQ", 9, 8, 5_000_000) + bytes(40_000_000),
        "more than 4000000 texts",
    ),
    "no text": (lambda: start(0, 1) + text(b"\xff") + bytes(99), "UTF-8"),
    "twice": (lambda: start(0, 2) + (text(b"k") + struct.pack("<IB", 0, 1)) * 2 + bytes(99), "twice"),
    "alignment": (
        lambda: start(0, 1) + text(b"general.alignment") + struct.pack("<II", 4, 33) + bytes(99),
        "alignment is 33",
    ),
    "dimensions": (lambda: start(1, 0) + text(b"t") + struct.pack("<I", 1 << 31) + bytes(99), "dimensions"),
    "tensor type": (lambda: start(1, 0) + info(b"t", 0, kind=99) + bytes(99), "unknown type 99"),
    "blocks": (lambda: start(1, 0) + info(b"t", 0, kind=8, shape=(33,)) + bytes(99), "whole blocks"),
    "hole": (lambda: start(1, 0) + info(b"t", 64) + bytes(200), "hole or an overlap"),
    "overlap": (lambda: start(2, 0) + info(b"a", 0) + info(b"b", 0) + bytes(200), "hole or an overlap"),
    "same name": (lambda: start(2, 0) + info(b"a", 0) + info(b"a", 32) + bytes(200), "one name"),
    "cut": (lambda: start(1, 0) + info(b"t", 0, shape=(1 << 40, 1 << 20)) + bytes(99), "ends within the tensor"),
    "header cut": (lambda: start(0, 3) + text(b"k") + struct.pack("<IB", 0, 1) + bytes(30)[:26], "ends within|twice"),
}


@pytest.mark.parametrize("case", HOSTILE, ids=str)
def test_what_is_no_gguf_is_refused_by_name(case: str) -> None:
    content, says = HOSTILE[case]
    with pytest.raises(InvalidGguf, match=says) as caught:
        parse(content())
    assert "bad.gguf" in str(caught.value)
