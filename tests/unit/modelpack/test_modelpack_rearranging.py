"""Tensors in loading order at the beginnings of pages: the same tensors, by safetensors' own reader."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from modelpack.rearranging import (
    HUGE_PAGE,
    PAGE,
    Move,
    aligned_bytes,
    arrange,
    loading_jumps,
    write_arranged,
    write_moved,
)
from modelpack.safetensors_header import read_header
from tests.servers.artifacts import safetensors


def out_of_order(tmp_path: Path) -> Path:
    """As some converters write: by layer, with a scale of a few bytes between whole pages, and an empty tensor."""
    tensors = {
        f"layers.{layer}.{name}": ("F16", shape, np.full(shape, layer, np.float16).tobytes())
        for layer in (10, 2, 1)
        for name, shape in (("weight", (64, 96)), ("scale", (3,)), ("norm", (2048,)))
    }
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors({**tensors, "empty": ("F32", (0, 4), b"")}, {"format": "pt", "by": "a test"}))
    return path


@pytest.mark.parametrize("align", [8, PAGE, HUGE_PAGE])
def test_the_same_tensors_in_other_places(tmp_path: Path, align: int) -> None:
    source, target = out_of_order(tmp_path), tmp_path / "arranged.safetensors"
    arrangement = arrange(read_header(source), align=align)
    assert arrangement is not None
    write_arranged(source, target, arrangement)
    before, after = load_file(source), load_file(target)
    assert before.keys() == after.keys()
    for name, values in before.items():
        assert (after[name].dtype, after[name].shape) == (values.dtype, values.shape)
        assert after[name].tobytes() == values.tobytes(), name
    with safe_open(target, "numpy") as opened:
        assert opened.metadata() == {"format": "pt", "by": "a test"}
    header = read_header(target)
    assert header.data_start % align == 0
    assert arrange(header, align=align) is None  # it stays as it is


def test_whole_pages_begin_with_a_page_and_come_in_loading_order(tmp_path: Path) -> None:
    source, target = out_of_order(tmp_path), tmp_path / "arranged.safetensors"
    before = read_header(source)
    arrangement = arrange(before)
    assert arrangement is not None
    write_arranged(source, target, arrangement)
    after = read_header(target)
    whole_pages = sum(size for size in (t.end - t.start for t in before.tensors.values()) if size % PAGE == 0)
    assert aligned_bytes(before) < whole_pages <= aligned_bytes(after)
    names = [name for name, tensor in after.tensors.items() if (tensor.end - tensor.start) % PAGE == 0]
    assert names == sorted(names)
    assert loading_jumps(after) <= loading_jumps(before)


def test_what_safetensors_writes_keeps_its_order(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({f"layers.{layer}.weight": np.zeros((64, 64), np.float32) for layer in (10, 2, 1)}, path)
    assert loading_jumps(read_header(path)) == 0


@pytest.mark.parametrize("align", [0, 7, 12, -8])
def test_alignments_are_powers_of_two(tmp_path: Path, align: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        arrange(read_header(out_of_order(tmp_path)), align=align)


def test_a_file_of_another_filesystem(tmp_path: Path) -> None:
    """Between most of them the kernel copies nothing."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
        source = out_of_order(Path(memory))
        for target in (tmp_path / "arranged.safetensors", Path(memory) / "arranged.safetensors"):
            write_moved(b"head", [Move(source, 10, 5000), Move(source, 2, 7), Move(source, 7, 9)], target)
            data = source.read_bytes()
            assert target.read_bytes() == b"head" + data[10:5000] + data[2:9]


def test_failures_name_their_file(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"12345")
    with pytest.raises(OSError, match="cut off") as cut_off:
        write_moved(b"", [Move(source, 2, 9)], tmp_path / "target")
    assert cut_off.value.filename == str(source)
    with pytest.raises(OSError, match="Input/output error") as unreadable:
        write_moved(b"", [Move(Path("/proc/self/mem"), 0, 9)], tmp_path / "another")
    assert unreadable.value.filename == "/proc/self/mem"
