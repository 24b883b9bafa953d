"""Weights cut into files for ranks: each has what its rank loads, and together they are the model, bit for bit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from modelpack.errors import InvalidSafetensors, InvalidSelection, InvalidTensorIndex
from modelpack.plan.files import FetchPlan
from modelpack.plan.layout import Layout
from modelpack.plan.model_shape import model_shape
from modelpack.plan.planning import plan_fetch
from modelpack.plan.rank_files import RANK_INDEX, encode_rank_files, parse_rank_files
from modelpack.plan.selection import Selection
from modelpack.presharding import Cut, cut, put_together
from modelpack.rearranging import PAGE
from modelpack.safetensors_header import read_header
from modelpack.tensors.slices import RANKS_KEY, SLICES_KEY, slices_of
from tests.servers.artifacts import safetensors
from tests.unit.modelpack.test_plan_ranks import CONFIG, listing, reading, write

LAYOUTS = ["4", "tp=2", "pp=3", "ep=2", "tp=4,pp=2", "tp=2,pp=2,ep=3", "tp=7"]


def presharded(tmp_path: Path, layout: str) -> tuple[Path, Path, Cut]:
    """The model, the one that was cut, and how."""
    before, after = tmp_path / "model", tmp_path / "cut"
    write(before)
    empty = {"model.layers.0.mlp.up_proj.empty": np.zeros((0, 4), np.float32), "scalar": np.array(3, np.int64)}
    save_file(empty, before / "more.safetensors")
    after.mkdir()
    found = cut({path.name: path for path in before.glob("*.safetensors")}, model_shape(CONFIG), Layout.parse(layout))
    for file in found.files:
        file.write(after / file.path)
    (after / RANK_INDEX).write_bytes(encode_rank_files(found.index))
    (after / "config.json").write_bytes((before / "config.json").read_bytes())
    return before, after, found


def planned(folder: Path, rank: str = "", only: tuple[str, ...] = (), tensors: tuple[str, ...] = ()) -> FetchPlan:
    selection = Selection.of(rank=rank, only=only, tensors=tensors)
    return plan_fetch(listing(folder), selection, reading(folder), provable=lambda _: True)


def tensors(folder: Path) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for path in folder.glob("*.safetensors"):
        found.update(load_file(path))
    return found


@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_files_together_are_the_model_bit_for_bit(tmp_path: Path, layout: str) -> None:
    before, after, found = presharded(tmp_path, layout)
    put_together(sorted(after.glob("*.safetensors")), tmp_path / "whole.safetensors")
    whole, expected = load_file(tmp_path / "whole.safetensors"), tensors(before)
    assert whole.keys() == expected.keys()
    for name, values in expected.items():
        assert (whole[name].dtype, whole[name].shape) == (values.dtype, values.shape), name
        assert whole[name].tobytes() == values.tobytes(), name
    stored = sum(tensor.size for file in found.files for tensor in file.tensors.values())
    rows_twice = 2 * found.layout.tp * 32  # of embedding and output, as engines pad them differently
    assert stored <= sum(values.nbytes for values in expected.values()) + rows_twice * 64 * 2


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_rank_has_the_bytes_that_it_would_load_of_the_whole(tmp_path: Path, layout: str) -> None:
    before, after, found = presharded(tmp_path, layout)
    whole = {path.name: path.read_bytes() for path in before.glob("*.safetensors")}
    headers = {name: read_header(before / name) for name in whole}
    for rank in found.layout.ranks():
        mine = planned(after, rank=str(rank))
        assert all(not file.ranges for file in mine.files)
        have: dict[str, bytes] = {}
        for file in mine.files:
            if file.path.endswith(".safetensors"):
                loaded = load_file(after / file.path)
                assert not loaded.keys() & have.keys()
                have.update({name: values.tobytes() for name, values in loaded.items()})
        ranges = {file.path: file.ranges or ((0, file.size),) for file in planned(before, rank=str(rank)).files}
        for path, header in headers.items():
            for name, tensor in header.tensors.items():
                wanted = b"".join(
                    whole[path][max(start, tensor.start) : min(stop, tensor.end)]
                    for start, stop in ranges.get(path, ())
                    if start < tensor.end and tensor.start < stop
                )
                assert have.get(name, b"") == wanted, (str(rank), name)


def test_slices_lie_on_pages_one_after_the_other_and_say_what_they_are_of(tmp_path: Path) -> None:
    _, after, found = presharded(tmp_path, "tp=4")
    assert {file.path for file in found.files} > {f"model-tp{rank}of4.safetensors" for rank in range(4)}
    assert "model-shared.safetensors" in {file.path for file in found.files}
    path = after / "model-tp1of4.safetensors"
    header = read_header(path)
    assert header.data_start % PAGE == 0
    assert header.metadata[RANKS_KEY] == "tp=4"
    slices = slices_of(header, path.name)
    query = slices["model.layers.0.self_attn.q_proj.weight"]
    assert (query.shape, query.rows) == ((64, 64), ((16, 32),))
    with safe_open(path, "numpy") as opened:
        assert opened.get_tensor("model.layers.0.self_attn.q_proj.weight").shape == (16, 64)
        assert opened.metadata()[SLICES_KEY]


def test_a_stage_is_what_all_its_ranks_load(tmp_path: Path) -> None:
    _, after, found = presharded(tmp_path, "tp=4,pp=2")
    stage = {file.path for file in planned(after, rank="pp=1/2").files}
    ranks = [{file.path for file in planned(after, rank=f"tp={rank}/4,pp=1/2").files} for rank in range(4)]
    assert stage == set().union(*ranks)
    assert "model-pp1of2.safetensors" in stage and "model-pp0of2.safetensors" not in stage
    assert {file.path for file in planned(after).files} == {path.name for path in after.iterdir()}
    one = planned(after, rank="tp=0/4,pp=0/2", tensors=("*.q_proj.weight",))
    chosen = {file.path for file in one.files if len(file.ranges) > 1}  # of others the header alone
    assert chosen == {"model-tp0of4-pp0of2.safetensors"}
    assert len(found.index.files) == len(found.files)


def test_another_layout_is_refused(tmp_path: Path) -> None:
    _, after, _ = presharded(tmp_path, "tp=4")
    for rank in ("tp=0/2", "pp=0/2", "tp=0/4,ep=0/2"):
        with pytest.raises(InvalidSelection, match=r"cut for the ranks of tp=4"):
            planned(after, rank=rank)
    with pytest.raises(InvalidSelection, match="files of other ranks"):
        planned(after, rank="tp=0/4", only=("model-tp1of4.safetensors",))


def test_files_of_a_rank_that_are_missing_are_missed(tmp_path: Path) -> None:
    _, after, _ = presharded(tmp_path, "tp=4")
    (after / "model-tp2of4.safetensors").unlink()
    with pytest.raises(InvalidTensorIndex, match="are in none of the files"):
        put_together(sorted(after.glob("*.safetensors")), tmp_path / "whole.safetensors")


def test_rows_that_end_within_a_byte(tmp_path: Path) -> None:
    source, after = tmp_path / "half-bytes.safetensors", tmp_path / "cut"
    source.write_bytes(safetensors({"a": ("F4", (4, 3), b"123456"), "model.norm.weight": ("F6_E2M3", (2, 2), b"abc")}))
    after.mkdir()
    for file in cut({source.name: source}, model_shape(CONFIG), Layout.parse("tp=2,pp=2")).files:
        file.write(after / file.path)
    whole = tmp_path / "whole.safetensors"
    put_together(sorted(after.iterdir()), whole)
    found, data = read_header(whole).tensors, whole.read_bytes()
    assert {name: data[t.start : t.end] for name, t in found.items()} == {"a": b"123456", "model.norm.weight": b"abc"}


@pytest.mark.parametrize("text", ["", "0", "1", "tp=1", "tp=2,tp=2", "tp=4/2", "dp=2", "tp=2000", "tp=32,pp=64", "a"])
def test_what_is_no_layout(text: str) -> None:
    with pytest.raises(InvalidSelection, match="is not valid"):
        Layout.parse(text)


def test_a_layout_of_absurdly_many_ranks_says_how_many_there_may_be() -> None:
    for text, count in (("1000000000", 10**9), ("tp=1000000,pp=1000000,ep=1000000", 10**18), ("tp=4,pp=0", 0)):
        with pytest.raises(InvalidSelection, match=f"has {count} ranks, not 2 to 1024"):
            Layout.parse(text)


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({"version": 2}, "version 2"),
        ({"version": 1, "files": {}}, "lacks its layout"),
        ({"version": 1, "layout": "tp=1", "files": {}}, "1 ranks"),
        ({"version": 1, "layout": "tp=2", "files": {"b": ["tp=0/2"]}}, "does not have"),
        ({"version": 1, "layout": "tp=2", "files": {"a": ["tp=0/4"]}}, "no rank of tp=2"),
        ({"version": 1, "layout": "tp=2", "files": {"a": []}}, "which ranks load"),
    ],
)
def test_an_index_that_is_wrong(document: dict[str, object], problem: str) -> None:
    with pytest.raises(InvalidTensorIndex, match=problem):
        parse_rank_files(json.dumps(document).encode(), {"a"})


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        '{"a": 1}',
        '{"b": {"shape": [4], "rows": [[0, 2]]}}',
        '{"a": {"shape": [4], "rows": [[0, 3]]}}',
        '{"a": {"shape": [4], "rows": [[2, 3], [0, 1]]}}',
        '{"a": {"shape": [1], "rows": [[0, 2]]}}',
        '{"a": {"shape": [], "rows": []}}',
    ],
)
def test_metadata_that_contradicts_the_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors({"a": ("U8", (2,), b"ab")}, {SLICES_KEY: text}))
    with pytest.raises(InvalidSafetensors, match=r"model\.safetensors"):
        slices_of(read_header(path), path.name)


def test_what_was_cut_is_not_cut_again(tmp_path: Path) -> None:
    """Not even without the index that would tell: a rank's rows are not the tensor. Files of whole tensors may be, and
    say nothing of the first time."""
    _, after, _ = presharded(tmp_path, "tp=2")
    one = after / "model-tp0of2.safetensors"
    with pytest.raises(
        InvalidSafetensors, match=r"model-tp0of2\.safetensors has only some rows of .* cut for ranks already"
    ):
        cut({one.name: one}, model_shape(CONFIG), Layout.parse("2"))
    shared = tmp_path / "shared.safetensors"
    save_file({"a": np.zeros((2, 2), np.float32)}, shared, {RANKS_KEY: "tp=8", SLICES_KEY: "{}", "format": "pt"})
    again = cut({shared.name: shared}, model_shape(CONFIG), Layout.parse("2"))
    again.files[0].write(tmp_path / "again.safetensors")
    assert read_header(tmp_path / "again.safetensors").metadata == {RANKS_KEY: "tp=2", "format": "pt"}
