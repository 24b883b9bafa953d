"""What one rank loads of a real registry's model, by the bytes that the registry served."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from modelpack.chunk_table import chunk_size_for
from tests.servers import faults
from tests.servers.cluster import Cluster, finish
from tests.servers.oci_faults import FaultyRegistry
from tests.servers.registry import Registry
from tests.servers.shell import Shell

LAYERS, HIDDEN, INNER, HEADS = 8, 1024, 2048, 8
CONFIG = {
    "model_type": "llama",
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": HEADS,
    "hidden_size": HIDDEN,
    "tie_word_embeddings": False,
}
NAME = "model.safetensors"


def tensors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)

    def some(*shape: int) -> np.ndarray:
        return rng.integers(0, 2**16, shape, dtype=np.uint16).view(np.float16)

    found = {"model.embed_tokens.weight": some(2048, HIDDEN), "lm_head.weight": some(2048, HIDDEN)}
    for layer in range(LAYERS):
        before = f"model.layers.{layer}."
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            found[f"{before}self_attn.{name}.weight"] = some(HIDDEN, HIDDEN)
        for name in ("gate_proj", "up_proj"):
            found[f"{before}mlp.{name}.weight"] = some(INNER, HIDDEN)
        found[f"{before}mlp.down_proj.weight"] = some(HIDDEN, INNER)
    return found


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_file(tensors(), folder / NAME)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "README.md").write_text("# A model\n")
    return folder


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Iterator[Registry]:
    with Registry(tmp_path_factory.mktemp("registry")) as registry:
        publisher = Shell(tmp_path_factory.mktemp("publisher"), MODELDIST_REGISTRY=registry.host)
        for command in (("build", str(model), "-t", "org/model:v1"), ("push", "org/model:v1")):
            done = publisher.run(*command)
            assert done.returncode == 0, done.stderr
        yield registry


@pytest.fixture
def reference(registry: Registry) -> str:
    registry.clear_log()
    return f"{registry.host}/org/model:v1"


def plan_of(shell: Shell, reference: str, rank: str) -> dict[str, Any]:
    done = shell.run("plan", reference, "--rank", rank, "--json")
    assert done.returncode == 0, done.stderr
    plan: dict[str, Any] = json.loads(done.stdout)
    return plan


def planned(shell: Shell, reference: str, rank: str) -> dict[str, dict[str, object]]:
    return {file["path"]: file for file in plan_of(shell, reference, rank)["files"]}


def in_pieces(file: dict[str, object]) -> int:
    """Bytes of the pieces that have a byte of the planned ranges."""
    size = file["size"]
    assert isinstance(size, int) and isinstance(file["ranges"], list)
    piece = chunk_size_for(size)
    touched = {number for start, stop in file["ranges"] for number in range(start // piece, (stop - 1) // piece + 1)}
    return sum(min(piece, size - number * piece) for number in touched)


def assert_loads(path: str | Path, model: Path, rank: int, size: int) -> None:
    """The engine's file opens, and the rank's rows are right."""
    have, whole = load_file(Path(path) / NAME), load_file(model / NAME)
    for name, values in whole.items():
        rows = slice(rank * values.shape[0] // size, (rank + 1) * values.shape[0] // size)
        if not name.endswith(("o_proj.weight", "down_proj.weight")):
            assert have[name][rows].tobytes() == values[rows].tobytes(), name
        else:
            assert have[name].tobytes() == values.tobytes(), name


def test_a_rank_moves_the_pieces_it_needs_and_no_others(
    shell: Shell, registry: Registry, reference: str, model: Path, tmp_path: Path
) -> None:
    said = plan_of(shell, reference, "tp=0/4")
    plan = {file["path"]: file for file in said["files"]}
    headers = (
        registry.blob_bytes()
    )  # the artifact's config, the chunk table, config.json and the first bytes of weights
    registry.clear_log()
    result = shell.run("pull", reference, "--rank", "tp=0/4", "--json")
    assert result.returncode == 0, result.stderr
    done = json.loads(result.stdout)
    assert_loads(done["path"], model, 0, 4)
    whole = sum(path.stat().st_size for path in model.iterdir())
    rest = sum(int(str(file["size"])) for path, file in plan.items() if path != NAME)
    served = registry.blob_bytes()
    assert served <= in_pieces(plan[NAME]) + rest + headers
    assert done["origin"] <= in_pieces(plan[NAME]) + rest < 0.75 * whole
    assert done["origin"] == said["moved"] > said["needed"]
    assert (done["needed"], done["whole"]) == (sum(int(str(file["needed"])) for file in plan.values()), whole)
    registry.clear_log()
    other = json.loads(Shell(tmp_path / "other").run("pull", reference, "--only", "README.md", "--json").stdout)
    assert other["headers"] == 0
    about = registry.blob_bytes() - other["origin"]  # the artifact's config and its chunk table
    assert served == done["origin"] + done["headers"] + about
    registry.clear_log()
    assert shell.run("pull", reference, "--rank", "tp=0/4").stdout.strip() == done["path"]
    assert registry.blob_bytes() == 0
    assert shell.run("verify").returncode == 0


def test_a_second_rank_and_then_everything_move_only_what_is_missing(
    shell: Shell, registry: Registry, reference: str, model: Path
) -> None:
    whole = sum(path.stat().st_size for path in model.iterdir())
    origin, paths = 0, []
    for options in (("--rank", "pp=0/2"), ("--rank", "pp=1/2"), ()):
        result = shell.run("pull", reference, *options, "--json")
        assert result.returncode == 0, result.stderr
        done = json.loads(result.stdout)
        origin += done["origin"]
        paths.append(done["path"])
    assert origin == whole
    assert (Path(paths[2]) / NAME).read_bytes() == (model / NAME).read_bytes()


@pytest.mark.slow
def test_ranks_on_two_nodes_read_each_byte_once(
    tmp_path: Path, registry: Registry, reference: str, model: Path
) -> None:
    with Cluster(tmp_path / "cluster", 2) as cluster:
        pulls = [cluster.pull(node, f"{reference}#rank=tp={node}/2") for node in range(2)]
        done = [finish(pull) for pull in pulls]
        for node, result in enumerate(done):
            assert_loads(result["path"], model, node, 2)
        whole = sum(path.stat().st_size for path in model.iterdir())
        assert sum(result["origin"] for result in done) <= whole


def test_a_plan_by_a_header_that_is_not_the_files_is_found_out(
    tmp_path: Path, shell: Shell, faulty: FaultyRegistry
) -> None:
    folder = tmp_path / "gguf"
    folder.mkdir()
    writer = gguf.GGUFWriter(folder / "model.gguf", "llama")
    writer.add_uint32("test.value", 7)
    for number in range(4):
        writer.add_tensor(f"blk.{number}.weight", np.full((256, 512), number, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    reference = f"{faulty.host}/org/model:v1"
    for command in (("build", str(folder), "-t", reference), ("push", reference)):
        assert shell.run(*command).returncode == 0
    value = (folder / "model.gguf").read_bytes().index(b"test.value") + len(b"test.value") + 4
    faulty.inject(faults.slow(1e12, times=2), on="blobs", method="GET")  # config, chunk table
    faulty.inject(faults.corrupted(value, times=1), on="blobs", method="GET")  # the header, as another valid one
    said = shell.fails(10, "pull", reference, "--tensor", "blk.2.*")
    assert "model.gguf" in said and "begins otherwise than it did when its ranges were planned" in said
    faulty.heal()
    path = shell.pull(reference, "--tensor", "blk.2.*")
    tensors = {tensor.name: tensor.data for tensor in gguf.GGUFReader(path / "model.gguf").tensors}
    assert (tensors["blk.2.weight"] == 2).all()


def test_what_a_rank_has_is_not_laid_out_as_a_model(reference: str, tmp_path: Path) -> None:
    """The files have holes where other ranks' rows are: zeros, which would be passed off as weights."""
    shell = Shell(tmp_path / "node")
    part = f"{reference}#rank=tp=0/4"
    for source in (part, str(shell.pull(part))):
        for how in ((), ("--ranks", "2")):
            said = shell.fails(2, "optimize", source, "--into", str(tmp_path / "into"), "--no-measure", "-q", *how)
            assert "only parts of model.safetensors are here" in said
    assert "only parts of" in shell.fails(2, "build", str(shell.pull(part)), "-t", "org/model:part")
    assert not (tmp_path / "into").exists()
    assert shell.run("optimize", str(shell.pull(reference)), "--into", str(tmp_path / "into"), "-q").returncode == 0
    whole = load_file(tmp_path / "into" / NAME)
    assert all(whole[name].tobytes() == values.tobytes() for name, values in tensors().items())
