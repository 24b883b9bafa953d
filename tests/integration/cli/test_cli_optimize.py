"""`modeldist optimize`: another layout of the same tensors, as a directory or to be pushed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import modeldist
from modeldist.agent.this_node import node
from modeldist.errors import Unsupported
from tests.servers.artifacts import safetensors
from tests.servers.registry import Registry
from tests.servers.shell import Shell


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """One file in loading order, though not on pages, one out of order, and others."""
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    save_file({f"layers.{n}.weight": np.full((256, 256), n, np.float32) for n in range(8)}, folder / "a.safetensors")
    mixed = {
        f"layers.{n}.weight": ("F32", (512, 256), np.full((512, 256), n, np.float32).tobytes()) for n in (9, 8, 10)
    }
    (folder / "sub" / "b.safetensors").write_bytes(safetensors(mixed))
    (folder / "config.json").write_text("{}")
    return folder


def assert_same_tensors(before: Path, after: Path) -> None:
    for path in ("a.safetensors", "sub/b.safetensors"):
        old, new = load_file(before / path), load_file(after / path)
        assert old.keys() == new.keys()
        assert all(new[name].tobytes() == values.tobytes() for name, values in old.items())
    assert (after / "config.json").read_bytes() == (before / "config.json").read_bytes()


def test_a_directory_is_laid_out_and_measured(shell: Shell, model: Path, tmp_path: Path) -> None:
    into = tmp_path / "into"
    done = shell.run("optimize", str(model), "--into", str(into), "--runs", "1", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["files"], said["rewritten"], said["path"]) == (3, 2, str(into))
    assert_same_tensors(model, into)
    before, after = said["before"], said["after"]
    assert before["tensors"] == after["tensors"] == 11
    assert before["aligned"] < after["aligned"] == 8 * 256 * 256 * 4 + 3 * 512 * 256 * 4
    assert after["jumps"] < before["jumps"]
    assert len(after["runs"]) == 1
    again = tmp_path / "again"
    told = shell.run("optimize", str(into), "--into", str(again), "--runs", "1")
    assert told.stdout == f"{again}\n"
    assert "0 of 3 files were laid out anew" in told.stderr
    assert "cold load" in told.stderr and "page faults waited for the disk" in told.stderr
    assert (again / "sub" / "b.safetensors").samefile(into / "sub" / "b.safetensors")


def test_a_reference_becomes_another_that_nodes_take_from_the_first(
    shell: Shell, registry: Registry, model: Path, tmp_path: Path
) -> None:
    """Shared files are the same blobs; of those that were laid out anew, a node takes the content from the old ones."""
    first, second = f"{registry.host}/org/model:v1", f"{registry.host}/org/model:v1-aligned"
    for command in (
        ("build", str(model), "-t", first),
        ("push", first),
        ("optimize", first, "--into", second, "--no-measure", "--quiet"),
        ("push", second),
    ):
        done = shell.run(*command)
        assert done.returncode == 0, done.stderr
    node = Shell(tmp_path / "node")
    before = node.pull(first)
    done_json = node.pull_json(second)
    assert_same_tensors(before, Path(done_json["path"]))
    assert done_json["origin"] + done_json["index"] < 0.2 * done_json["size"]


def test_a_directory_with_files_is_left_alone(shell: Shell, model: Path, tmp_path: Path) -> None:
    (tmp_path / "into").mkdir()
    (tmp_path / "into" / "mine").write_text("!")
    assert "not empty" in shell.fails(2, "optimize", str(model), "--into", str(tmp_path / "into"))


def test_what_would_be_another_layout_of_nothing(shell: Shell, model: Path, tmp_path: Path) -> None:
    assert "a part of the model" in shell.fails(2, "optimize", str(model), "--into", str(model / "new"))
    assert "''" in shell.fails(2, "optimize", str(model), "--into", str(tmp_path / "new"), "--ranks", "")


def test_a_file_that_is_no_safetensors_file(shell: Shell, model: Path, tmp_path: Path) -> None:
    (model / "a.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n" * 3)
    said = shell.run("optimize", str(model), "--into", str(tmp_path / "into"))
    assert said.returncode not in (0, 1), said.stderr
    assert "a.safetensors is not a valid safetensors file" in said.stderr
    assert {path.name for path in tmp_path.iterdir()}.isdisjoint({"into"})
    assert not list(tmp_path.glob(".into-*"))


def test_a_model_without_safetensors_files(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.gguf").write_bytes(b"GGUF")
    said = shell.run("optimize", str(tmp_path / "model"), "--into", str(tmp_path / "into"))
    assert "has no safetensors files" in said.stderr
    assert not (tmp_path / "into").exists()


@pytest.fixture
def transformer(tmp_path: Path) -> Path:
    """A model whose config says how it is divided."""
    folder = tmp_path / "transformer"
    folder.mkdir()
    rng = np.random.default_rng(1)
    weights = {
        f"model.layers.{layer}.{name}.weight": rng.random(shape, dtype=np.float32)
        for layer in range(2)
        for name, shape in {
            "self_attn.q_proj": (256, 256),
            "self_attn.o_proj": (256, 256),
            "mlp.gate_proj": (1024, 256),
            "mlp.up_proj": (1024, 256),
            "mlp.down_proj": (256, 1024),
            "input_layernorm": (256,),
        }.items()
    }
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": dict.fromkeys(weights, "model.safetensors")})
    )
    config = {"num_hidden_layers": 2, "num_attention_heads": 8, "num_key_value_heads": 8, "hidden_size": 256}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_a_rank_pulls_its_own_files_of_a_model_that_was_cut(
    shell: Shell, registry: Registry, transformer: Path, tmp_path: Path
) -> None:
    cut = f"{registry.host}/org/transformer:v1-tp4"
    done = shell.run("optimize", str(transformer), "--into", cut, "--ranks", "tp=4", "--runs", "1", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["files"], said["ranks"], said["rank"]["rank"]) == (7, "tp=4", "tp=0/4")  # 4, shared, index, config
    assert said["rank"]["moved_after"] < said["rank"]["moved_before"]
    assert said["after"]["jumps"] < said["before"]["jumps"]
    assert said["before"]["predicted"] > 0 and len(said["after"]["runs"]) == 1
    pushed = shell.run("push", cut)
    assert pushed.returncode == 0, pushed.stderr
    whole = load_file(transformer / "model.safetensors")
    for rank in range(4):
        node = Shell(tmp_path / f"node-{rank}")
        pulled = node.pull_json(f"{cut}#rank=tp={rank}/4")
        folder = Path(pulled["path"])
        names = {path.name for path in folder.glob("*.safetensors")}
        assert names == {f"model-tp{rank}of4.safetensors", "model-shared.safetensors"}
        weights = sum((folder / name).stat().st_size for name in names)
        assert pulled["origin"] == weights + sum(path.stat().st_size for path in folder.glob("*.json"))
        if rank == 0:
            assert weights == said["rank"]["moved_after"]
        own, shared = (load_file(folder / name) for name in sorted(names, reverse=True))
        assert own.keys() | shared.keys() == whole.keys()
        for name, part in own.items():
            rows = len(whole[name]) // 4
            assert part.tobytes() == whole[name][rank * rows : (rank + 1) * rows].tobytes()
        assert all(part.tobytes() == whole[name].tobytes() for name, part in shared.items())
    assert "cut for the ranks of tp=4" in shell.fails(2, "pull", cut, "--rank", "tp=0/2")


def test_of_a_model_that_was_cut_a_rank_is_streamed(shell: Shell, transformer: Path, tmp_path: Path) -> None:
    told = shell.run("optimize", str(transformer), "--into", str(tmp_path / "cut"), "--ranks", "2", "--no-measure")
    assert told.returncode == 0, told.stderr
    assert "into 3 files for 2 ranks (tp=2)" in told.stderr and "rank tp=0/2  moves" in told.stderr
    reference = f"file://{tmp_path / 'cut'}"
    whole = load_file(transformer / "model.safetensors")
    with modeldist.stream(reference, rank="tp=1/2", framework="np", here=node(store=tmp_path / "store")) as tensors:
        found = dict(tensors)
    assert found.keys() == whole.keys()
    assert tensors.rows["model.layers.0.self_attn.q_proj.weight"] == ((128, 256),)
    assert "model.layers.0.self_attn.o_proj.weight" not in tensors.rows
    for name, part in found.items():
        ((start, stop),) = tensors.rows.get(name, ((0, len(whole[name])),))
        assert part.tobytes() == whole[name][start:stop].tobytes()
    with (
        modeldist.stream(reference, framework="np", here=node(store=tmp_path / "store")) as tensors,
        pytest.raises(Unsupported, match=r"for several ranks of tp=2"),
    ):
        dict(tensors)


def test_a_model_is_cut_once_and_for_ranks_that_can_be(shell: Shell, transformer: Path, tmp_path: Path) -> None:
    cut = str(tmp_path / "cut")
    assert shell.run("optimize", str(transformer), "--into", cut, "--ranks", "4", "--no-measure").returncode == 0
    assert "cut for ranks already" in shell.fails(2, "optimize", cut, "--into", f"{cut}-2", "--ranks", "2")
    assert "tp=0" in shell.fails(2, "optimize", str(transformer), "--into", f"{cut}-3", "--ranks", "tp=0")
    assert not (tmp_path / "cut-3").exists()
