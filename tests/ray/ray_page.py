"""docs/ray.md, and the README's lines about Ray: what a reader pastes, section after section, on three nodes. Their
GPUs are a number that Ray is told. `make test-ray` runs this."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray import serve
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group

from modeldist.ray import followed
from tests.documentation import page
from tests.ray.conftest import NODES
from tests.ray.machines import Machines
from tests.servers.engine_programs import FILES
from tests.servers.hub import Hub
from tests.servers.oci_faults import FaultyRegistry

pytestmark = pytest.mark.usefixtures("raylets")

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "ray.md"
BY = "make test-ray"

Paste = Callable[..., tuple[str, dict[str, object]]]


@pytest.fixture
def paste(machines: Machines, hub: Hub, faulty: FaultyRegistry) -> Iterator[Paste]:
    """What the python of a section prints, and its names in the end."""
    faulty.add_model("org/model", "v1", FILES)
    hub.commit("org/other", FILES)
    hub.commit("org/model", FILES)
    places = {
        "registry.example": faulty.host,
        "ray.init()": "ray.init(ignore_reinit_error=True)",  # the test did
        "ray.serve.llm import": "ray.llm._internal.serve.core.configs.llm_config import",  # beside vLLM
        "/nvme/models": str(machines.here / "nvme"),
    }

    def run(title: str, path: Path = PAGE) -> tuple[str, dict[str, object]]:
        names: dict[str, object] = {"__name__": "__main__"}  # so that Ray sends its classes along
        found = [each for each in page.examples(page.only(path.read_text(), title), BY) if each.language == "python"]
        assert found
        return "".join(page.python(path, page.placed(each.code, places), each.line, names) for each in found), names

    yield run


def test_the_installation() -> None:
    """Which changes nothing here: all of it is there."""
    line = next(each.code for each in page.examples(PAGE.read_text(), BY) if each.language == "console")
    stand_in = f'pip() {{ {sys.executable} -m pip --disable-pip-version-check "$@" --dry-run; }}'
    done = subprocess.run(
        ["bash", "-c", f"{stand_in}\n{line}"], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "Requirement already satisfied: ray" in done.stdout
    assert "does not provide the extra" not in done.stderr


def test_before_serving(paste: Paste, machines: Machines) -> None:
    said, _ = paste("Before serving")
    assert len(said.splitlines()) == 2 * (1 + NODES)
    assert said.count(str(machines.here)) == 2


def test_nodes_that_join_later(paste: Paste) -> None:
    said, _ = paste("Nodes that join later")
    assert "org/model@sha256:" in said
    assert followed() == []


def test_inside_of_an_actor(paste: Paste) -> None:
    _, names = paste("Inside of an actor, a task, a deployment")
    ray.get(names["engine"].__ray_ready__.remote(), timeout=120)  # type: ignore[attr-defined]
    ray.kill(names["engine"])


def test_serve(serving: None, paste: Paste) -> None:
    try:
        said, _ = paste("Ray Serve")
        assert said == "['w']\n" * 2
    finally:
        for name in ("default", "engines"):
            serve.delete(name)


class Engine:
    """vLLM's half of Ray's VLLMEngineConfig (llm/_internal/serve/engines/vllm/vllm_models.py)."""

    actual_hf_model_id = "org/model"
    hf_model_id = ""

    def __init__(self, group: PlacementGroup) -> None:
        self._group = group

    def get_or_create_pg(self) -> PlacementGroup:
        return self._group

    def get_runtime_env_with_local_env_vars(self) -> dict[str, str]:
        return {}


def test_serve_llm(paste: Paste, machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's own configuration makes the callback, and calls it before an engine starts."""
    group = placement_group([{"CPU": 0.1}] * 2, strategy="STRICT_SPREAD")
    ray.get(group.ready())
    try:
        _, names = paste("Ray Serve LLM")
        config: Any = names["config"]
        engine = Engine(group)
        monkeypatch.setattr(type(config), "get_engine_config", lambda _: engine)
        callback = config.get_or_create_callback()
        asyncio.run(callback.run_callback("on_before_node_init"))
        assert engine.hf_model_id.startswith(str(machines.here))
        assert not callback.ctx.run_init_node
    finally:
        remove_placement_group(group)


def test_workers_that_start_with_a_model(paste: Paste, machines: Machines) -> None:
    said, _ = paste("Workers that start with a model")
    assert said.startswith(str(machines.here / "store" / "hub"))
    assert said.endswith("config.json\n")


def test_without_agents(bare: None, paste: Paste, machines: Machines) -> None:
    said, _ = paste("Without agents")
    assert said.startswith("https://127.0.0.2:")
    assert said.count("NodeAgent") == NODES
    for index in range(NODES):
        found = (machines.home / f"node-{index}" / "nvme").rglob("snapshots/*/model.safetensors")
        assert [file.read_bytes() for file in found] == [FILES["model.safetensors"]]


def test_the_readme(bare: None, paste: Paste) -> None:
    _, names = paste("Ray", ROOT / "README.md")
    assert len(names["model"].copies) == NODES  # type: ignore[attr-defined]
