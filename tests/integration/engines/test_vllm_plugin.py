"""`vllm serve REF --load-format modeldist`: engines of vLLM's, whose plugin is found where modeldist is installed."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.cluster import Cluster
from tests.servers.engine_programs import STAND_INS, ended, failed, started
from tests.servers.oci_faults import FaultyRegistry
from tests.servers.shell import Shell

WEIGHTS = os.urandom(300_000)
FILES = {"config.json": b'{"model_type": "llama"}', "model.safetensors": WEIGHTS}

ENGINE = """
import json, pickle, sys
from pathlib import Path
from vllm.engine.arg_utils import AsyncEngineArgs

config = AsyncEngineArgs(**{settings!r}).create_engine_config()
Path({kept!r}).write_bytes(pickle.dumps(config))
print(json.dumps([config.model_config.__dict__, config.load_config.__dict__]))
"""
RANK = """
import pickle, sys
from pathlib import Path
from vllm.plugins import load_general_plugins

load_general_plugins()
config = pickle.loads(Path({kept!r}).read_bytes())
from vllm.model_executor.model_loader import get_model_loader

loader = get_model_loader(config.load_config)
loader.download_model(config.model_config)
model = loader.load_model(vllm_config=config, model_config=config.model_config, prefix="")
((name, weights),) = loader.get_all_weights(config.model_config, model)
assert [weights] == list(model.values())
print(pickle.dumps(model).hex())
"""
ASK = "from vllm.engine.arg_utils import EngineArgs; EngineArgs(**{settings!r}).create_engine_config()"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster"), 2) as cluster:
        yield cluster


def settings(model: str, **others: object) -> dict[str, object]:
    return {"model": model, "load_format": "modeldist", **others}


def read_at_the_registry(faulty: FaultyRegistry) -> int:
    return sum(exchange.sent for exchange in faulty.seen("blobs", "GET") if exchange.range)


def test_ranks_on_two_nodes_load_the_version_that_the_engine_got(
    cluster: Cluster, faulty: FaultyRegistry, tmp_path: Path
) -> None:
    faulty.add_model("org/model", "v1", FILES)
    name, kept = f"{faulty.host}/org/model:v1", str(tmp_path / "config")
    said = ended(started(ENGINE.format(settings=settings(name), kept=kept), cluster.environment(0)))
    model, load = json.loads(said)
    assert (model["served_model_name"], model["revision"]) == ([name], None)
    assert model["tokenizer"] == model["model"]
    assert model["hf_config"] == {"model_type": "llama"}
    assert load["load_format"] == "modeldist"

    faulty.add_model("org/model", "v1", {**FILES, "model.safetensors": b"newer"})  # the tag moves
    ranks = [started(RANK.format(kept=kept), cluster.environment(node)) for node in (0, 0, 1, 1)]
    loaded = [pickle.loads(bytes.fromhex(ended(rank))) for rank in ranks]
    assert [list(each.values()) for each in loaded] == [[WEIGHTS]] * 4
    for each, node in zip(loaded, (0, 0, 1, 1), strict=True):
        assert all(Path(path).is_relative_to(cluster.store(node)) for path in each)
    alone = {**cluster.environment(0), "MODELDIST_SOCKET": str(tmp_path / "none")}  # its agent is away just now
    assert list(pickle.loads(bytes.fromhex(ended(started(RANK.format(kept=kept), alone)))).values()) == [WEIGHTS]
    assert read_at_the_registry(faulty) == sum(map(len, FILES.values()))


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


def test_other_formats_and_directories_ask_no_agent(shell: Shell, tmp_path: Path) -> None:
    for name, contents in FILES.items():
        (tmp_path / "model").mkdir(exist_ok=True)
        (tmp_path / "model" / name).write_bytes(contents)
    kept = str(tmp_path / "config")
    for format_ in ("modeldist", "auto"):
        given = settings(str(tmp_path / "model"), load_format=format_)
        ended(started(ENGINE.format(settings=given, kept=kept), shell.environment))
        (weights,) = pickle.loads(bytes.fromhex(ended(started(RANK.format(kept=kept), shell.environment)))).values()
        assert weights == WEIGHTS
    assert "not a valid model identifier" in failed(
        started(ASK.format(settings={"model": "org/model:v1"}), shell.environment)
    )


def test_what_is_wrong_is_said(shell: Shell) -> None:
    def said(model: str, **others: object) -> str:
        return failed(started(ASK.format(settings=settings(model, **others)), shell.environment))

    assert "No agent listens on" in (without := said("org/model:v1"))
    assert "Run `modeldist agent` on this node" in without
    assert "org/model:v1 says which version is meant, and so does --revision v2" in said("org/model:v1", revision="v2")
    assert '"socket" and "load_format"' in said("org/model", model_loader_extra_config={"modeldist": {"sock": "/a"}})
    assert "no JSON object" in said("org/model", model_loader_extra_config="{}")


def test_an_error_of_the_pull_is_the_engines(cluster: Cluster, faulty: FaultyRegistry) -> None:
    faulty.add_model("org/model", "v1", FILES)
    ask = ASK.format(settings=settings(f"{faulty.host}/org/model:v2"))
    said = failed(started(ask, cluster.environment(0)))
    assert "NotFound" in said
    assert "org/model:v2" in said


@pytest.mark.parametrize(
    ("file", "name", "lacks"),
    [
        ("engine/arg_utils.py", "served_model_name", "served_model_name in EngineArgs"),
        (
            "model_executor/model_loader/__init__.py",
            "register_model_loader",
            "model loaders that a plugin may",
        ),
        ("model_executor/model_loader/__init__.py", "load_weights", "load_weights in BaseModelLoader"),
    ],
)
def test_another_vllm_serves_other_formats_and_refuses_this_one(
    shell: Shell, tmp_path: Path, file: str, name: str, lacks: str
) -> None:
    changed = tmp_path / "changed" / "vllm"
    shutil.copytree(STAND_INS / "vllm", changed, ignore=shutil.ignore_patterns("__pycache__"))
    source = (changed / file).read_text()
    (changed / file).write_text(source.replace(name, f"{name}_of_late"))
    assert name in source
    environment = {**shell.environment, "STAND_IN_VERSION": "0.99"}
    said = failed(started(ASK.format(settings=settings("org/model:v1")), environment, changed.parent))
    assert f"vLLM 0.99 has no {lacks}" in said
    assert "Use vLLM 0.33" in said
    (tmp_path / "config.json").write_bytes(FILES["config.json"])
    engine = ENGINE.format(settings={"model": str(tmp_path)}, kept=str(tmp_path / "config"))
    assert json.loads(ended(started(engine, environment, changed.parent)))[0]["hf_config"] == {"model_type": "llama"}
