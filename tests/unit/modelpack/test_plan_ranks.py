"""What a rank loads: of real safetensors files, cut as vLLM's loaders cut them, from nothing but the planned bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from modelpack.errors import InvalidSelection, InvalidTensorIndex
from modelpack.plan.files import FetchPlan, ListedFile, listed_names
from modelpack.plan.planning import MAX_HEADERS, plan_fetch
from modelpack.plan.rank import Slot
from modelpack.plan.rank_rules import rank_experts, stage_layers
from modelpack.plan.selection import Selection
from modelpack.tensors.entries import ReadRange

HIDDEN, INNER, HEADS, KV_HEADS, HEAD, VOCABULARY, LAYERS, EXPERTS = 64, 96, 8, 2, 8, 1000, 5, 6
CONFIG = {
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "hidden_size": HIDDEN,
    "num_local_experts": EXPERTS,
    "tie_word_embeddings": False,
}
Tensors = dict[str, np.ndarray]


def tensor(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float16)


def layer(number: int) -> Tensors:
    before = f"model.layers.{number}."
    found = {
        "input_layernorm.weight": tensor(HIDDEN),
        "self_attn.q_proj.weight": tensor(HEADS * HEAD, HIDDEN),
        "self_attn.q_proj.bias": tensor(HEADS * HEAD),
        "self_attn.k_proj.weight": tensor(KV_HEADS * HEAD, HIDDEN),
        "self_attn.v_proj.weight": tensor(KV_HEADS * HEAD, HIDDEN),
        "self_attn.o_proj.weight": tensor(HIDDEN, HEADS * HEAD),
        "mlp.gate_proj.weight": tensor(INNER, HIDDEN),
        "mlp.up_proj.weight": tensor(INNER, HIDDEN),
        "mlp.down_proj.weight": tensor(HIDDEN, INNER),
    }
    for expert in range(EXPERTS):
        found[f"block_sparse_moe.experts.{expert}.w1.weight"] = tensor(INNER, HIDDEN)
        found[f"block_sparse_moe.experts.{expert}.w1.input_scale"] = tensor(1)
    found["mlp.experts.gate_up_proj"] = tensor(EXPERTS, HIDDEN, 2)
    return {before + name: value for name, value in found.items()}


def write(folder: Path, config: dict[str, object] = CONFIG, extra: Tensors | None = None) -> None:
    """Two files and their index."""
    folder.mkdir(exist_ok=True)
    first = {"model.embed_tokens.weight": tensor(VOCABULARY, HIDDEN), **layer(0), **layer(1)}
    second = {**layer(2), **layer(3), **layer(4), "model.norm.weight": tensor(HIDDEN), **(extra or {})}
    second["lm_head.weight"] = tensor(VOCABULARY, HIDDEN)
    names = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    for name, tensors in zip(names, (first, second), strict=True):
        save_file(tensors, folder / name)
    weight_map = {key: name for name, tensors in zip(names, (first, second), strict=True) for key in tensors}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    (folder / "config.json").write_text(json.dumps(config))


def listing(folder: Path) -> tuple[ListedFile, ...]:
    return listed_names(
        (path.name, f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}", path.stat().st_size)
        for path in sorted(folder.iterdir())
        if path.is_file()
    )


def reading(folder: Path, reads: list[tuple[str, int]] | None = None) -> Callable[[ListedFile], ReadRange]:
    def open_ranges(file: ListedFile) -> ReadRange:
        def read(start: int, length: int) -> bytes:
            if reads is not None:
                reads.append((file.path, length))
            return (folder / file.path).read_bytes()[start : start + length]

        return read

    return open_ranges


def plan(folder: Path, *, provable: bool = True, **selected: str | list[str]) -> FetchPlan:
    selection = Selection.of(**selected)  # type: ignore[arg-type]
    return plan_fetch(listing(folder), selection, reading(folder), provable=lambda _: provable)


def arrived(folder: Path, plan: FetchPlan, target: Path) -> Tensors:
    """All tensors as they load when the planned bytes are there and every other byte is 0xFF: NaN in float16."""
    target.mkdir()
    found: Tensors = {}
    for file in plan.files:
        source = (folder / file.path).read_bytes()
        content = bytearray(b"\xff" * file.size)
        for start, stop in file.ranges or ((0, file.size),):
            content[start:stop] = source[start:stop]
        (target / file.path).write_bytes(content)
        if file.path.endswith(".safetensors"):
            found |= load_file(target / file.path)
    return found


def original(folder: Path) -> Tensors:
    return {name: value for path in sorted(folder.glob("*.safetensors")) for name, value in load_file(path).items()}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write(folder := tmp_path / "model")
    return folder


def narrow(values: np.ndarray, rank: int, size: int) -> np.ndarray:
    each = values.shape[0] // size
    return values[rank * each : (rank + 1) * each]


@pytest.mark.parametrize("size", [2, 4, 8])
def test_every_rank_has_what_its_loader_narrows_to(model: Path, tmp_path: Path, size: int) -> None:
    whole = original(model)
    for rank in range(size):
        made = plan(model, rank=f"tp={rank}/{size}")
        have = arrived(model, made, tmp_path / str(rank))
        assert have.keys() == whole.keys()
        for name, values in whole.items():
            if name.endswith(("q_proj.weight", "gate_proj.weight", "up_proj.weight", "w1.weight")):
                assert (narrow(have[name], rank, size) == narrow(values, rank, size)).all(), name
                assert np.isnan(have[name]).sum() == values.size * (size - 1) // size  # and nothing else moves
            elif name.endswith(("k_proj.weight", "v_proj.weight")):
                replicas = max(1, size // KV_HEADS)  # as vLLM: a head goes to that many ranks in a row
                ranks = min(size, KV_HEADS)
                assert (narrow(have[name], rank // replicas, ranks) == narrow(values, rank // replicas, ranks)).all()
            elif name in ("model.embed_tokens.weight", "lm_head.weight"):
                padded = -(-VOCABULARY // 64) * 64 // size  # rows of a rank, as vLLM pads
                rows = slice(rank * padded, min((rank + 1) * padded, VOCABULARY))
                assert (have[name][rows] == values[rows]).all()
                assert (narrow(have[name], rank, size) == narrow(values, rank, size)).all()  # and as others divide
            else:
                assert (have[name] == values).all(), name
        assert made.needed < made.size


def test_fused_tensors_are_cut_in_each_of_their_parts(tmp_path: Path) -> None:
    config = {**CONFIG, "num_key_value_heads": 4}
    qkv, halves = tensor((HEADS + 2 * 4) * HEAD, HIDDEN), tensor(2 * INNER, HIDDEN)
    names = ("model.layers.2.self_attn.qkv_proj.weight", "model.layers.2.mlp.gate_up_proj.weight")
    write(tmp_path / "m", config, {names[0]: qkv, names[1]: halves})
    have = arrived(tmp_path / "m", plan(tmp_path / "m", rank="tp=1/4"), tmp_path / "there")
    for name, values, parts in ((names[0], qkv, (64, 96, 128)), (names[1], halves, (96, 192))):
        for mine, theirs in zip(np.split(have[name], parts[:-1]), np.split(values, parts[:-1]), strict=True):
            assert (narrow(mine, 1, 4) == narrow(theirs, 1, 4)).all()
        assert np.isnan(have[name]).sum() == values.size * 3 // 4


@pytest.mark.parametrize(
    "config",
    [
        {**CONFIG, "num_attention_heads": 9},
        {**CONFIG, "quantization_config": {"quant_method": "gptq"}},
        {},
    ],
    ids=["heads that do not divide", "packed weights", "no facts"],
)
def test_what_cannot_be_divided_is_taken_whole(tmp_path: Path, config: dict[str, object]) -> None:
    write(tmp_path / "m", config)
    made = plan(tmp_path / "m", rank="tp=1/4")
    have = arrived(tmp_path / "m", made, tmp_path / "there")
    assert not np.isnan(have["model.layers.0.self_attn.q_proj.weight"]).any()
    assert "taken whole" in made.notes[0]


def test_a_model_that_says_nothing_of_itself_is_taken_whole_and_that_is_said(model: Path) -> None:
    (model / "config.json").unlink()
    made = plan(model, rank="tp=0/2,pp=0/2,ep=0/2")
    assert made.needed == made.size
    assert [note.partition(" ")[0] for note in made.notes] == ["Tensors", "Layers", "All"]


def test_layers_whose_heads_are_not_the_configs_are_taken_whole(tmp_path: Path) -> None:
    wide = tensor(KV_HEADS * HEAD * 2, HIDDEN)  # one head of another size, which eight ranks would all have
    write(tmp_path / "m", extra={"model.layers.4.self_attn.k_proj.weight": wide})
    have = arrived(tmp_path / "m", plan(tmp_path / "m", rank="tp=3/8"), tmp_path / "there")
    assert not np.isnan(have["model.layers.4.self_attn.k_proj.weight"]).any()
    assert np.isnan(have["model.layers.3.self_attn.k_proj.weight"]).any()


def test_a_model_in_a_directory_of_its_own_is_taken_whole(tmp_path: Path) -> None:
    write(folder := tmp_path / "m")
    (folder / "draft").mkdir()
    save_file(layer(0), folder / "draft" / "model.safetensors")
    size = (folder / "draft" / "model.safetensors").stat().st_size
    files = (*listing(folder), *listed_names([("draft/model.safetensors", "sha256:" + "0" * 64, size)]))
    made = plan_fetch(files, Selection.of(rank="tp=1/4,pp=2/3"), reading(folder), provable=lambda _: True)
    assert next(file for file in made.files if file.path == "draft/model.safetensors").ranges == ()


def test_stages_of_a_pipeline_have_their_layers(model: Path, tmp_path: Path) -> None:
    whole = original(model)
    stages = [arrived(model, plan(model, rank=f"pp={rank}/3"), tmp_path / str(rank)) for rank in range(3)]
    for name, values in whole.items():
        there = [bool((stage[name] == values).all()) for stage in stages]
        if name == "model.embed_tokens.weight":
            assert there == [True, False, False]
        elif name in ("lm_head.weight", "model.norm.weight"):
            assert there == [False, False, True]
        else:
            number = int(name.split(".")[2])
            assert there == [number in (0, 1), number in (2, 3), number == 4], name


def test_an_output_that_is_the_embedding_is_on_both_ends(tmp_path: Path) -> None:
    for tied in ({**CONFIG, "tie_word_embeddings": True}, {k: v for k, v in CONFIG.items() if "tie" not in k}):
        write(folder := tmp_path / str(len(tied)), tied)
        for rank, there in ((0, True), (1, False), (2, True)):
            have = arrived(folder, plan(folder, rank=f"pp={rank}/3"), tmp_path / f"{len(tied)}-{rank}")
            assert (not np.isnan(have["model.embed_tokens.weight"]).any()) is there


def test_a_rank_has_its_experts(model: Path, tmp_path: Path) -> None:
    whole = original(model)
    for rank, mine in ((0, {0, 1}), (1, {2, 3}), (3, {5})):
        have = arrived(model, plan(model, rank=f"ep={rank}/{4 if rank == 3 else 3}"), tmp_path / str(rank))
        for name, values in whole.items():
            if ".experts." in name and name.endswith("w1.weight"):
                assert bool((have[name] == values).all()) is (int(name.split(".")[5]) in mine), name
            elif name.endswith("experts.gate_up_proj"):
                assert {e for e in range(EXPERTS) if not np.isnan(have[name][e]).any()} == mine
            else:
                assert (have[name] == values).all(), name  # scales of all experts too: some loaders take their maximum


def test_groups_combine(model: Path, tmp_path: Path) -> None:
    have = arrived(model, plan(model, rank="tp=1/2,pp=1/3,ep=0/3"), tmp_path / "there")
    assert np.isnan(have["model.layers.0.self_attn.q_proj.weight"]).all()
    assert np.isnan(have["model.layers.2.self_attn.q_proj.weight"]).sum() == HEADS * HEAD * HIDDEN // 2
    assert not np.isnan(
        have["model.layers.2.block_sparse_moe.experts.0.w1.weight"]
    ).any()  # whole, as experts are shared
    assert np.isnan(have["model.layers.2.block_sparse_moe.experts.5.w1.weight"]).all()


@pytest.mark.parametrize(
    ("layers", "size", "counts"),
    [(32, 4, [8, 8, 8, 8]), (22, 4, [5, 6, 6, 5]), (5, 3, [2, 2, 1]), (4, 3, [1, 2, 1]), (61, 2, [31, 30])],
)
def test_layers_divide_as_in_vllm(layers: int, size: int, counts: list[int]) -> None:
    stages = [stage_layers(layers, Slot(rank, size)) for rank in range(size)]
    assert [len(stage) for stage in stages] == counts
    assert [number for stage in stages for number in stage] == list(range(layers))


def test_experts_divide_as_in_vllm() -> None:
    assert [rank_experts(10, Slot(rank, 4)) for rank in range(4)] == [range(3), range(3, 6), range(6, 8), range(8, 10)]


def test_absurd_numbers_cost_no_more_than_others(tmp_path: Path) -> None:
    """Of ranks, layers and experts: nothing is counted one by one that only a config or an option speaks of."""
    most = (1 << 31) - 1
    write(tmp_path / "m", CONFIG | {"num_hidden_layers": most, "num_local_experts": most})
    made = plan(tmp_path / "m", rank="tp=1/65536,pp=0/65536,ep=1/65536")
    assert made.needed < made.size
    assert made.notes[-1].startswith("All experts")
    assert stage_layers(most, Slot(65_535, 65_536))[-1] == most - 1
    assert rank_experts(most, Slot(65_535, 65_536))[-1] == most - 1


def test_without_a_proof_files_are_whole_or_left_out(model: Path) -> None:
    made = plan(model, provable=False, rank="pp=0/5")
    assert [file.path for file in made.files] == [
        "config.json",
        "model-00001-of-00002.safetensors",
        "model.safetensors.index.json",
    ]
    assert all(not file.ranges for file in made.files)
    assert "no chunk table" in made.notes[0]


def test_a_file_of_tensors_without_bytes_is_taken_also_without_a_proof(tmp_path: Path) -> None:
    save_file(layer(0), tmp_path / "model.safetensors")
    save_file({"empty": np.zeros((0, 3), np.float16)}, tmp_path / "other.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    for provable in (False, True):
        assert "other.safetensors" in [file.path for file in plan(tmp_path, provable=provable, rank="tp=0/2").files]


def test_tensors_by_name(model: Path, tmp_path: Path) -> None:
    made = plan(model, tensors=["model.layers.3.*", "lm_head.weight"])
    have = arrived(model, made, tmp_path / "there")
    named = {name for name, values in have.items() if not np.isnan(values).any()}
    assert named == {name for name in have if name.startswith("model.layers.3.") or name == "lm_head.weight"}
    assert [
        file.path for file in plan(model, provable=False, tensors=["lm_head.*"]).files if file.kind == "weight"
    ] == ["model-00002-of-00002.safetensors"]
    with pytest.raises(InvalidSelection, match="none of the model's"):
        plan(model, tensors=["nothing.*"])


def test_only_headers_and_configs_are_read(model: Path) -> None:
    reads: list[tuple[str, int]] = []
    plan_fetch(listing(model), Selection.of(rank="tp=0/2"), reading(model, reads), provable=lambda _: True)
    weights = [length for path, length in reads if path.endswith(".safetensors")]
    assert len(weights) == 2 and max(weights) <= 100_008
    reads.clear()
    plan_fetch(listing(model), Selection.of(only=["*.json"]), reading(model, reads), provable=lambda _: True)
    assert reads == []


def test_an_index_that_contradicts_the_files_is_refused(model: Path) -> None:
    index = json.loads((model / "model.safetensors.index.json").read_text())
    for wrong, says in (
        ({"lm_head.weight": "model-00001-of-00002.safetensors"}, "it has not"),
        ({"lm_head.weight": "model-00003-of-00003.safetensors"}, "does not have"),
        ({"lm_head.weight": 3}, "no object of texts"),
    ):
        text = json.dumps({**index, "weight_map": index["weight_map"] | wrong})
        (model / "model.safetensors.index.json").write_text(text)
        with pytest.raises(InvalidTensorIndex, match=says):
            plan(model, rank="tp=0/2")


def test_headers_that_are_too_much_together_are_not_all_read() -> None:
    """Of a hostile model: each header is within what one may have."""
    text = json.dumps({"__metadata__": {"x": "y" * 900_000}}).encode()
    content = len(text).to_bytes(8, "little") + text
    count = MAX_HEADERS // len(content) + 10
    files = [ListedFile(f"{at}.safetensors", f"sha256:{at:064x}", len(content), "weight", "raw") for at in range(count)]

    def opening(file: ListedFile) -> ReadRange:
        return lambda start, length: content[start : start + length]

    with pytest.raises(InvalidSelection, match=f"headers of the model's weights have more than {MAX_HEADERS} bytes"):
        plan_fetch(files, Selection.parse("tensor=a"), opening)
