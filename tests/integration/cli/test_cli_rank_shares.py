"""A quarter of a model for one rank of four: what moves, that digests prove it, that replicas of a rank share it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from modelpack.chunk_table import chunk_size_for
from modelpack.digests import sha256_digest
from tests.servers import faults
from tests.servers.cluster import Cluster, finish
from tests.servers.oci_faults import FaultyRegistry
from tests.servers.registry import Registry
from tests.servers.shell import Shell

NAME = "model.safetensors"
SHARE = 0.30  # of the model's bytes, all that the registry served counted
ROWS, WIDTH, LAYERS, EXPERTS = 4096, 1024, 4, 8
MODELS = {"tp": "columns", "pp": "layers", "ep": "experts"}


def tensors(kind: str) -> dict[str, np.ndarray]:
    """columns: of tensors whose rows the ranks divide; layers, experts: of more and smaller ones."""
    rng = np.random.default_rng(len(kind))

    def some(rows: int) -> np.ndarray:
        return rng.integers(0, 2**16, (rows, WIDTH), dtype=np.uint16).view(np.float16)

    named = {
        "columns": [f"model.layers.{n}.mlp.{name}_proj.weight" for n in range(LAYERS) for name in ("gate", "up")],
        "layers": [f"model.layers.{n}.self_attn.{name}_proj.weight" for n in range(LAYERS) for name in "qkvo"],
        "experts": [f"model.layers.{n}.mlp.experts.{e}.w1.weight" for n in range(2) for e in range(EXPERTS)],
    }[kind]
    return {name: some(ROWS if kind == "columns" else 512) for name in named}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = {}
    for kind in MODELS.values():
        folder = folders[kind] = tmp_path_factory.mktemp(kind)
        save_file(tensors(kind), folder / NAME)
        config = {"model_type": "llama", "num_hidden_layers": LAYERS, "num_experts": EXPERTS, "hidden_size": WIDTH}
        (folder / "config.json").write_text(json.dumps(config | {"num_attention_heads": 8, "num_key_value_heads": 8}))
    return folders


def publish(publisher: Shell, host: str, kind: str, folder: Path) -> str:
    reference = f"{host}/org/{kind}:v1"
    for command in (("build", str(folder), "-t", reference), ("push", reference)):
        done = publisher.run(*command)
        assert done.returncode == 0, done.stderr
    return reference


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, models: dict[str, Path]) -> Iterator[Registry]:
    with Registry(tmp_path_factory.mktemp("registry")) as registry:
        publisher = Shell(tmp_path_factory.mktemp("publisher"))
        for kind, folder in models.items():
            publish(publisher, registry.host, kind, folder)
        yield registry


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def assert_first_quarter(kind: str, path: str, folder: Path) -> None:
    """By the loaders' own way of reading: rows of every tensor, or some of the tensors."""
    with safe_open(Path(path) / NAME, "numpy") as have, safe_open(folder / NAME, "numpy") as whole:
        names = sorted(whole.keys())
        if kind == "layers":
            names = [name for name in names if name.startswith("model.layers.0.")]
        if kind == "experts":
            names = [name for name in names if ".experts.0." in name or ".experts.1." in name]
        rows = ROWS // 4 if kind == "columns" else 512
        for name in names:
            assert have.get_slice(name)[:rows].tobytes() == whole.get_slice(name)[:rows].tobytes(), name


@pytest.mark.parametrize("way", MODELS)
def test_the_first_of_four_ranks_moves_less_than_three_tenths(
    way: str, shell: Shell, registry: Registry, models: dict[str, Path]
) -> None:
    kind = MODELS[way]
    registry.clear_log()
    done = shell.pull_json(f"{registry.host}/org/{kind}:v1#rank={way}=0/4")
    assert registry.blob_bytes() <= SHARE * size_of(models[kind])
    assert done["origin"] <= SHARE * done["whole"]
    assert_first_quarter(kind, done["path"], models[kind])
    checked = json.loads(shell.run("verify", "--json").stdout)
    assert not checked["damaged"], checked


def test_replicas_of_a_rank_read_it_once(tmp_path: Path, registry: Registry, models: dict[str, Path]) -> None:
    reference = f"{registry.host}/org/columns:v1"
    with Cluster(tmp_path / "cluster", 2) as cluster:
        registry.clear_log()
        pulls = [cluster.pull(node, reference, "--rank", "tp=0/4") for node in range(2)]
        for done in [finish(pull) for pull in pulls]:
            assert_first_quarter("columns", done["path"], models["columns"])
        assert registry.blob_bytes() <= SHARE * size_of(models["columns"])


def test_a_wrong_byte_in_the_part_is_refused(
    tmp_path: Path, shell: Shell, faulty: FaultyRegistry, models: dict[str, Path]
) -> None:
    """A range has no digest of its own: the chunk table's is what finds it."""
    reference = publish(Shell(tmp_path / "publisher"), faulty.host, "layers", models["layers"])
    content = (models["layers"] / NAME).read_bytes()
    piece = chunk_size_for(len(content))
    faulty.inject(faults.slow(1e12, times=1), on=sha256_digest(content), method="GET")  # the header, read to plan by
    faulty.inject(faults.corrupted(3 * piece + 5), on=sha256_digest(content), method="GET")
    said = shell.fails(10, "pull", reference, "--rank", "pp=0/4")
    assert NAME in said and "are not those of the model's chunk table" in said
    faulty.heal()
    assert_first_quarter("layers", str(shell.pull(reference, "--rank", "pp=0/4")), models["layers"])
