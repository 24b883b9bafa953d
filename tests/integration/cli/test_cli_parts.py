"""A part of a model at the shell: killed and resumed, listed, verified, damaged, filled up, removed."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from modelpack.chunk_table import chunk_size_for
from tests.servers import faults
from tests.servers.cluster import Cluster, finish, wait_until
from tests.servers.oci_faults import FaultyRegistry
from tests.servers.shell import Shell

LAYERS, HIDDEN = 4, 256
CONFIG = {
    "model_type": "llama",
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "hidden_size": HIDDEN,
    "tie_word_embeddings": False,
}
NAME = "model.safetensors"
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj")
MARKER = ".modeldist-selection.json"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    rng = np.random.default_rng(5)
    save_file(
        {
            f"model.layers.{layer}.self_attn.{name}.weight": rng.random((4 * HIDDEN, HIDDEN), dtype=np.float32)
            for layer in range(LAYERS)
            for name in PROJECTIONS
        },
        folder / NAME,
    )
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return folder


@pytest.fixture
def reference(faulty: FaultyRegistry, model: Path, tmp_path: Path) -> str:
    publisher = Shell(tmp_path / "publisher", MODELDIST_REGISTRY=faulty.host)
    (tmp_path / "publisher").mkdir()
    for command in (("build", str(model), "-t", "org/model:v1"), ("push", "org/model:v1")):
        done = publisher.run(*command)
        assert done.returncode == 0, done.stderr
    return f"{faulty.host}/org/model:v1"


def part(reference: str) -> str:
    return f"{reference}#rank=pp=0/2"


def assert_first_half(snapshot: Path, model: Path) -> None:
    """What the first of two pipeline stages loads, through the engine's own reader."""
    whole = load_file(model / NAME)
    with safe_open(snapshot / NAME, "numpy") as found:
        for name, values in whole.items():
            if int(name.split(".")[2]) < LAYERS // 2:
                assert found.get_tensor(name).tobytes() == values.tobytes()


def sent(faulty: FaultyRegistry) -> int:
    return sum(exchange.sent for exchange in faulty.seen("blobs", "GET"))


def test_a_part_whose_pull_was_killed_goes_on_where_it_was(
    shell: Shell, faulty: FaultyRegistry, reference: str, model: Path
) -> None:
    faulty.inject(faults.slow(2_500_000), on="blobs")
    begun = sent(faulty)
    process = shell.start("pull", part(reference))
    wait_until("half of the part", lambda: sent(faulty) - begun > 4_500_000)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    faulty.heal()
    before = sent(faulty)
    done = shell.pull_json(part(reference))
    assert_first_half(Path(done["path"]), model)
    assert done["local"] + done["origin"] == done["size"] < 0.7 * (model / NAME).stat().st_size
    assert done["local"] > 1_000_000
    assert sent(faulty) - before < done["size"]


def test_the_life_of_a_part(shell: Shell, faulty: FaultyRegistry, reference: str, model: Path) -> None:
    snapshot = shell.pull(part(reference))
    size = (model / NAME).stat().st_size

    (row,) = json.loads(shell.run("ls", "--json").stdout)
    assert row["path"] == str(snapshot)
    assert row["size"] < 0.7 * size < size < row["whole"]
    assert " of " in shell.run("ls").stdout

    verified = shell.run("verify")
    assert verified.returncode == 0
    assert f"{NAME} of {part(reference)}" in verified.stdout
    assert "by selection" in verified.stdout
    told = json.loads(shell.run("verify", "--json").stdout)
    assert (told["parts"][0]["size"], told["damaged"]) == (size, [])
    marker = json.loads((snapshot / MARKER).read_bytes())["files"][NAME]
    assert sum(stop - start for start, stop in marker["ranges"]) == told["parts"][0]["bytes"]

    os.chmod(snapshot / NAME, 0o600)  # noqa: PTH101
    with (snapshot / NAME).open("r+b") as file:
        file.seek(marker["ranges"][-1][1] - 100)
        file.write(b"damage")
    assert NAME in shell.run("verify", "--remove").stdout
    done = shell.pull_json(part(reference))
    assert 0 < done["origin"] < done["size"]  # the damaged piece alone, and not what was right
    assert shell.run("verify").returncode == 0

    whole = shell.pull_json(reference)
    assert (Path(whole["path"]) / NAME).read_bytes() == (model / NAME).read_bytes()
    assert (snapshot / NAME).samefile(Path(whole["path"]) / NAME)
    assert whole["origin"] + whole["local"] == whole["size"]
    assert whole["origin"] < 0.7 * size
    assert shell.run("verify").returncode == 0

    assert shell.run("rm", reference).returncode == 0
    assert_first_half(snapshot, model)
    assert shell.run("rm", part(reference)).returncode == 0
    assert json.loads(shell.run("ls", "--json").stdout) == []
    assert not list((shell.store / "blobs").rglob("*.*")) and not any((shell.store / "partial").iterdir())


def pieces_sent(faulty: FaultyRegistry, digest: str, piece: int) -> Counter[int]:
    """How often each piece of a blob left the registry, whole; reads of its header, shorter than one, are none."""
    found: Counter[int] = Counter()
    for exchange in faulty.seen("blobs", "GET"):
        if exchange.path.endswith(digest) and exchange.status in (200, 206):
            start = int(exchange.range.removeprefix("bytes=").partition("-")[0] or 0)
            stop = start + exchange.sent
            found.update(range(-(-start // piece), stop // piece))
    return found


def wanted(plan: str, piece: int) -> set[int]:
    (file,) = (file for file in json.loads(plan)["files"] if file["path"] == NAME)
    return {number for start, stop in file["ranges"] for number in range(start // piece, -(-stop // piece))}


@pytest.mark.slow
def test_agents_that_want_parts_and_one_that_wants_all_read_each_piece_once(
    tmp_path: Path, faulty: FaultyRegistry, reference: str, model: Path
) -> None:
    content = (model / NAME).read_bytes()
    digest, piece = hashlib.sha256(content).hexdigest(), chunk_size_for(len(content))
    stages = [f"{reference}#rank=pp={stage}/4" for stage in range(2)]
    with Cluster(tmp_path / "cluster", 3) as cluster:
        plans = [cluster.run(0, "plan", "--json", stage).stdout for stage in stages]
        for stage, done in enumerate([finish(cluster.pull(node, stages[node])) for node in range(2)]):
            with safe_open(Path(done["path"]) / NAME, "numpy") as found:
                for name, values in load_file(model / NAME).items():
                    if int(name.split(".")[2]) == stage:
                        assert found.get_tensor(name).tobytes() == values.tobytes()
        both = wanted(plans[0], piece) | wanted(plans[1], piece)
        full = set(range(len(content) // piece))  # but for the last, which is shorter
        assert pieces_sent(faulty, digest, piece) == Counter(both & full)
        done = finish(cluster.pull(2, reference))
        assert (Path(done["path"]) / NAME).read_bytes() == content
        assert done["peers"] >= len(both & full) * piece
        assert pieces_sent(faulty, digest, piece) == Counter(full)


@pytest.mark.slow
def test_an_agent_killed_in_mid_part_reads_the_rest(
    tmp_path: Path, faulty: FaultyRegistry, reference: str, model: Path
) -> None:
    with Cluster(tmp_path / "cluster", 1) as cluster:
        faulty.inject(faults.slow(2_500_000), on="blobs")
        begun = sent(faulty)
        pull = cluster.pull(0, part(reference), "--reconnect", "0")
        wait_until("half of the part", lambda: sent(faulty) - begun > 4_500_000)
        cluster.agents[0].kill()
        pull.communicate(timeout=30)
        faulty.heal()
        cluster.agents[0].start()
        cluster.wait_joined(0)
        done = finish(cluster.pull(0, part(reference)))
    assert_first_half(Path(done["path"]), model)
    assert done["local"] > 1_000_000
    assert done["local"] + done["origin"] == done["size"]
