"""Safetensors headers, against files written by the reference implementation and against broken ones."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save, save_file

from modelpack.errors import InvalidSafetensors
from modelpack.safetensors_header import MAX_HEADER_BYTES, parse_header, read_header
from tests.fuzz.targets import safetensors as fuzzed

NUMPY = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64, "U8": np.uint8, "BOOL": np.bool_}


def parse(data: bytes):
    return parse_header(lambda start, length: data[start : start + length], len(data))


def written(header: object, data: bytes = b"") -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + data


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=10).filter(lambda n: n != "__metadata__")
shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)


@given(
    st.dictionaries(names, st.tuples(st.sampled_from(sorted(NUMPY)), shapes), max_size=5),
    st.none() | st.dictionaries(names, names, min_size=1, max_size=2),
)
def test_what_the_reference_implementation_writes(wanted, metadata):
    arrays = {name: np.ones(shape, NUMPY[dtype]) for name, (dtype, shape) in wanted.items()}
    data = save(arrays, metadata)
    header = parse(data)
    assert {name: (tensor.dtype, tensor.shape) for name, tensor in header.tensors.items()} == wanted
    assert header.metadata == (metadata or {})
    assert header.parameters == sum(array.size for array in arrays.values())
    for name, tensor in header.tensors.items():
        assert data[tensor.start : tensor.end] == arrays[name].tobytes()


counts = st.sampled_from([0, 1, 4, 2**62, 2**63, -1, True, 1.0, None])
entries = st.fixed_dictionaries(
    {"dtype": st.sampled_from(["U8", "F32", "F4", "X", 7]), "shape": st.lists(counts, max_size=3)},
    optional={"data_offsets": st.lists(counts, max_size=3), "extra": counts},
)
headers = st.dictionaries(st.sampled_from(["a", "b", "__metadata__", "\x1b"]), entries | st.dictionaries(names, names))


@given(headers, st.integers(0, 16))
def test_any_header(header, size):
    fuzzed.check(written(header, bytes(size)))


@given(st.data())
def test_files_with_changes(data):
    raw = bytearray(save({"a": np.zeros((2, 3), np.float32), "b": np.ones(4, np.uint8)}, {"format": "pt"}))
    for _ in range(data.draw(st.integers(0, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    fuzzed.check(bytes(raw[: data.draw(st.integers(0, len(raw)))]))


@given(st.binary(max_size=60) | st.binary(max_size=60).map(written))
def test_any_bytes_are_a_header_or_an_error(data):
    try:
        assert parse(data).tensors == {}
    except InvalidSafetensors as error:
        assert error.remedy or "header" in error.message


def test_a_file_on_disk(tmp_path):
    path = tmp_path / "m.safetensors"
    save_file({"b": np.zeros((2, 3), np.float32), "a": np.zeros(10, np.float16)}, path)
    header = read_header(path)
    assert header.dtypes == {"F16": 10, "F32": 6}
    assert header.parameters == 16
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(InvalidSafetensors, match=r"m\.safetensors is not a valid.*git-lfs"):
        read_header(path)


def test_a_long_header_takes_a_second_read():
    arrays = {f"tensor.{number:06}": np.zeros(1, np.uint8) for number in range(3000)}
    data = save(arrays)
    reads: list[tuple[int, int]] = []

    def read_range(start: int, length: int) -> bytes:
        reads.append((start, length))
        return data[start : start + length]

    assert len(parse_header(read_range, len(data)).tensors) == 3000
    assert len(reads) == 2
    assert reads[0] == (0, 100_008)


def one(**changes: object) -> dict[str, object]:
    return {"t": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4], **changes}}


BROKEN = {
    "short": (b"1234567", "only 7 bytes"),
    "huge header": ((MAX_HEADER_BYTES + 1).to_bytes(8, "little") + b"{}", "at most"),
    "header beyond the file": ((100).to_bytes(8, "little") + b"{}", "the file has"),
    "no brace": (written(b" {}"), "does not start with a brace"),
    "no JSON": (written(b"{nope"), "not valid JSON"),
    "duplicate": (written(b'{"a":1,"a":2}'), "appears twice"),
    "metadata": (written({"__metadata__": {"a": 1}}), "__metadata__"),
    "no object": (written({"t": 1}), "lacks dtype"),
    "extra member": (written(one(extra=1), b"1234"), "or has more"),
    "dtype": (written(one(dtype="F99"), b"1234"), "unknown dtype 'F99'"),
    "dtype type": (written(one(dtype=[]), b"1234"), "unknown dtype"),
    "shape": (written(one(shape=[-4]), b"1234"), "not lists of counts"),
    "boolean": (written(one(shape=[True, 4]), b"1234"), "not lists of counts"),
    "minus nothing": (written(b'{"t":{"dtype":"U8","shape":[4],"data_offsets":[-0,4]}}'), "not lists of counts"),
    "offsets": (written(one(data_offsets=[0, 4, 4]), b"1234"), "not lists of counts"),
    "size": (written(one(shape=[5]), b"1234"), "4 bytes for its shape"),
    "backwards": (written(one(data_offsets=[4, 0]), b"1234"), "bytes for its shape"),
    "hole": (written(one(data_offsets=[1, 5]), b"12345"), "a hole before"),
    "dimensions": (written(one(shape=[2**62] * 1_000_000)), "1000000 dimensions"),
    "no array": (written(one(shape=[0, 2**62, 4], data_offsets=[0, 0])), "larger than any array"),
    "overlap": (written(one() | {"u": {"dtype": "U8", "shape": [2], "data_offsets": [3, 5]}}, b"12345"), "overlap"),
    "trailing": (written(one(), b"12345"), "have 4 bytes and 5 follow"),
    "missing": (written(one(), b"123"), "have 4 bytes and 3 follow"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_headers(case):
    data, says = BROKEN[case]
    with pytest.raises(InvalidSafetensors, match=says):
        parse(data)


def test_an_origin_that_answers_short():
    data = written({"__metadata__": {}})
    with pytest.raises(InvalidSafetensors, match="ends within its header"):
        parse_header(lambda start, length: data[start : start + 10], len(data))


def test_sub_byte_dtypes():
    header = parse(written({"t": {"dtype": "F4", "shape": [3, 2], "data_offsets": [0, 3]}}, b"123"))
    assert header.parameters == 6


def test_metadata_that_is_null_is_none():
    """As for safetensors' own reader."""
    assert parse(written({"__metadata__": None})).metadata == {}
