"""In which order a model is expected to be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeldist.mount.access_order import BLOCK, AccessOrder, Range, decode, encode
from modeldist.mount.loading_order import HEAD, loading_order, tensor_order
from modelpack.safetensors_header import parse_header

MIB = 1 << 20
DIGEST = "sha256:" + "0" * 64
SIZES = {"a": 40 * MIB, "b": 3 * MIB + 5}


def order(*reads: tuple[str, int, int]) -> AccessOrder:
    found = AccessOrder(SIZES)
    for read in reads:
        found.note(*read)
    return found


def test_first_touches_are_recorded_in_their_order_and_neighbours_joined() -> None:
    found = order(("a", 8 * MIB, 8 * MIB + 1), ("a", 12 * MIB, 13 * MIB), ("b", 0, 10), ("a", 9 * MIB, 17 * MIB))
    assert found.followed_by(()) == (
        Range("a", 8 * MIB, 16 * MIB),
        Range("b", 0, 3 * MIB + 5),
        Range("a", 16 * MIB, 20 * MIB),
    )


def test_what_only_an_earlier_record_has_comes_after() -> None:
    before = (Range("a", 0, 8 * MIB), Range("b", 0, MIB))
    assert order(("a", 4 * MIB, 5 * MIB)).followed_by(before) == (
        Range("a", 4 * MIB, 8 * MIB),
        Range("a", 0, 4 * MIB),
        Range("b", 0, 3 * MIB + 5),
    )


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 40 * MIB), st.integers(0, 9 * MIB))))
def test_a_record_has_each_block_once_and_comes_back_as_it_was(reads: list[tuple[str, int, int]]) -> None:
    inside = [(path, start, min(start + length, SIZES[path])) for path, start, length in reads if start < SIZES[path]]
    found = order(*inside).followed_by(())
    blocks = [(path, at) for path, start, stop in found for at in range(start // BLOCK, -(-stop // BLOCK))]
    assert len(blocks) == len(set(blocks))
    wanted = {(path, at) for path, start, stop in inside for at in range(start // BLOCK, -(-stop // BLOCK))}
    assert set(blocks) == wanted
    assert decode(encode(DIGEST, found), DIGEST, SIZES) == found


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no json",
        b"[]",
        json.dumps({"version": 2, "digest": DIGEST, "reads": []}).encode(),
        encode("sha256:" + "1" * 64, ()),
        encode(DIGEST, (Range("c", 0, 1),)),
        encode(DIGEST, (Range("b", 0, 4 * MIB),)),
        encode(DIGEST, (Range("b", -1, 4),)),
        encode(DIGEST, (Range("b", 4, 4),)),
    ],
)
def test_a_record_of_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        decode(data, DIGEST, SIZES)


def test_models_are_loaded_from_their_small_files_on() -> None:
    sizes = {
        "model-10.safetensors": 3 * MIB,
        "model-9.safetensors": 3 * MIB,
        "pytorch_model.bin": 6 * MIB,
        "tokenizer.json": 2 * MIB,
        "config.json": 700,
        "empty.txt": 0,
    }
    assert loading_order(sizes) == (
        Range("config.json", 0, 700),
        Range("tokenizer.json", 0, 2 * MIB),
        Range("model-9.safetensors", 0, HEAD),
        Range("model-10.safetensors", 0, HEAD),
        Range("pytorch_model.bin", 0, HEAD),
        Range("model-9.safetensors", HEAD, 3 * MIB),
        Range("model-10.safetensors", HEAD, 3 * MIB),
        Range("pytorch_model.bin", HEAD, 6 * MIB),
    )


def test_tensors_are_loaded_in_the_order_of_their_names() -> None:
    tensors = {"c": (0, 10), "a": (10, 30), "b": (30, 40), "none": (40, 40)}
    header = json.dumps(
        {
            name: {"dtype": "U8", "shape": [stop - start], "data_offsets": at}
            for name, at in tensors.items()
            for start, stop in [at]
        }
    ).encode()
    data = len(header).to_bytes(8, "little") + header + bytes(40)
    found = parse_header(lambda start, length: data[start : start + length], len(data))
    at = 8 + len(header)
    assert tensor_order("m", found) == (Range("m", at + 10, at + 40), Range("m", at, at + 10))


def test_files_that_safetensors_wrote_are_read_from_front_to_back(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    from safetensors.numpy import save_file

    from modelpack.safetensors_header import read_header

    path = tmp_path / "model.safetensors"
    save_file({f"layers.{at}.weight": numpy.ones((3, at), "f4") for at in range(1, 13)}, path)
    (only,) = tensor_order("model.safetensors", read_header(path))
    assert only.stop == path.stat().st_size
