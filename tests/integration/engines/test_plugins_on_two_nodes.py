"""Plugins of engines where agents run: what engines start with, and what their workers load."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.artifacts import safetensors
from tests.servers.cluster import Cluster
from tests.servers.engine_programs import ASK, ENGINE, FILES, RANK, ended, failed, serve, settings, started
from tests.servers.oci_faults import FaultyRegistry


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster"), 2) as cluster:
        yield cluster


def test_ranks_on_two_nodes_load_the_version_that_the_engine_got(
    cluster: Cluster, faulty: FaultyRegistry, tmp_path: Path
) -> None:
    weights = os.urandom(300_000)
    file = safetensors({"w": ("U8", (len(weights),), weights)})
    faulty.add_model("org/model", "v1", {**FILES, "model.safetensors": file})
    name, kept = f"{faulty.host}/org/model:v1", str(tmp_path / "config")
    said = ended(started(ENGINE.format(settings=settings(name), kept=kept), cluster.environment(0)))
    model, load = json.loads(said)
    assert (model["served_model_name"], model["revision"]) == ([name], None)
    assert model["tokenizer"] == model["model"]
    assert model["hf_config"] == {"model_type": "llama"}
    assert load["load_format"] == "modeldist"

    faulty.add_model("org/model", "v1", {**FILES, "model.safetensors": b"newer"})  # the tag moves
    ranks = [started(RANK.format(kept=kept), cluster.environment(node)) for node in (0, 0, 1, 1)]
    loaded = [json.loads(ended(rank)) for rank in ranks]
    assert [bytes.fromhex(found) for _, found in loaded] == [weights] * 4
    for (directory, _), node in zip(loaded, (0, 0, 1, 1), strict=True):
        assert Path(directory).is_relative_to(cluster.store(node))
    alone = {**cluster.environment(0), "MODELDIST_SOCKET": str(tmp_path / "none")}  # its agent is away just now
    assert bytes.fromhex(json.loads(ended(started(RANK.format(kept=kept), alone)))[1]) == weights
    blob = hashlib.sha256(file).hexdigest()
    assert sum(exchange.sent for exchange in faulty.seen("blobs", "GET") if blob in exchange.path) == len(file)


def test_settings_reach_the_agent_and_the_loader_below(
    cluster: Cluster, faulty: FaultyRegistry, tmp_path: Path
) -> None:
    faulty.add_model("org/model", "v1", FILES)
    environment, kept = cluster.environment(0), str(tmp_path / "config")
    ours = {"socket": environment["MODELDIST_SOCKET"], "load_format": "safetensors"}
    environment["MODELDIST_SOCKET"] = str(tmp_path / "none")
    given = settings(
        f"{faulty.host}/org/model",
        revision="v1",
        tokenizer=f"{faulty.host}/org/model",
        served_model_name="chat",
        model_loader_extra_config={"modeldist": ours, "enable_multithread_load": True},
    )
    model, load = json.loads(ended(started(ENGINE.format(settings=given, kept=kept), environment)))
    assert model["served_model_name"] == "chat"
    assert model["tokenizer"] == model["model"]
    assert load["model_loader_extra_config"]["enable_multithread_load"] is True
    assert load["model_loader_extra_config"]["modeldist"].items() > ours.items()


def test_an_error_of_the_pull_is_the_engines(cluster: Cluster, faulty: FaultyRegistry) -> None:
    faulty.add_model("org/model", "v1", FILES)
    ask = ASK.format(settings=settings(f"{faulty.host}/org/model:v2"))
    said = failed(started(ask, cluster.environment(0)))
    assert "NotFound" in said
    assert "org/model:v2" in said


def test_a_server_on_each_node_gets_the_directory_of_its_agent(cluster: Cluster, faulty: FaultyRegistry) -> None:
    faulty.add_model("org/model", "v1", FILES)
    reference = f"{faulty.host}/org/model"
    program = serve(f"modeldist://{reference}", "--revision", "v1", "--tokenizer-path", f"modeldist://{reference}")
    servers = [started(program, cluster.environment(node)) for node in range(2)]
    for node, server in enumerate(servers):
        settings = json.loads(ended(server))
        model = Path(settings["model_path"])
        assert model.is_relative_to(cluster.store(node))
        assert {file.name: file.read_bytes() for file in model.iterdir()} == FILES
        assert settings["tokenizer_path"] == settings["model_path"]
        assert (settings["served_model_name"], settings["revision"]) == ("org/model", None)
        assert settings["hf_config"] == {"model_type": "llama"}
    named = started(serve(f"modeldist://{reference}:v1", "--served-model-name", "chat"), cluster.environment(0))
    assert json.loads(ended(named))["served_model_name"] == "chat"
