"""What the Ray tests share: machines with agents, and raylets on them.

It imports ray inside fixtures: other tests pass by here where ray is not installed.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING
from zlib import crc32

import pytest
from safetensors.numpy import load_file, save_file

from deploy.demo.model import fetch_model
from tests.ray.machines import Machines
from tests.ray.published import publish
from tests.servers.hub import Hub
from tests.servers.oci_faults import FaultyRegistry
from tests.servers.registry import Registry

if TYPE_CHECKING:
    from tests.ray.raylets import Raylets

NODES = 3
WEIGHTS = Random("weights").randbytes(3_000_000)


@pytest.fixture(scope="session")
def hub() -> Iterator[Hub]:
    with Hub() as running:
        yield running


@pytest.fixture(scope="session")
def machines(tmp_path_factory: pytest.TempPathFactory, hub: Hub) -> Iterator[Machines]:
    environment = {"HF_ENDPOINT": hub.url}
    with Machines(tmp_path_factory.mktemp("machines"), agents=NODES, environment=environment) as running:
        yield running


@pytest.fixture(scope="session")
def raylets(machines: Machines, hub: Hub) -> Iterator[Raylets]:
    """Connected to."""
    from tests.ray.raylets import Raylets

    with Raylets() as running:
        for index in range(NODES):
            running.join({**machines.environment_inside(index), "HF_ENDPOINT": hub.url}, machines.command(index))
        yield running


@pytest.fixture(scope="module")
def bare(machines: Machines, raylets: Raylets) -> Iterator[None]:
    """The machines without their agents."""
    from modeldist.ray import stop_agents

    for agent in machines.agents:
        agent.stop()
    yield
    stop_agents()
    for index in range(NODES):
        machines.agents[index].start()
    for index in range(NODES):
        machines.wait_joined(index)


@pytest.fixture
def reference(faulty: FaultyRegistry, request: pytest.FixtureRequest) -> str:
    """Of a model that nobody has yet."""
    repository = f"org/{request.node.name.replace('_', '-')}"
    faulty.add_model(repository, "v1", {"config.json": b"{}", "model.safetensors": WEIGHTS + repository.encode()})
    return f"{faulty.host}/{repository}:v1"


@pytest.fixture(scope="session")
def serving(raylets: Raylets) -> None:
    """Ray Serve, which ends with the cluster."""
    from ray import serve

    serve.start(proxy_location="Disabled")


@pytest.fixture
def model(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A real model's directory, all of its weights made another by what this test is called: a node that has one of
    another test would take what is equal from there."""
    real, own = fetch_model(Path(".cache/demo")), tmp_path / "model"
    shutil.copytree(real, own)
    weights = own / "model.safetensors"
    scale = 1 + crc32(request.node.name.encode()) / 2**36
    scaled = {
        name: (tensor * scale).astype(tensor.dtype) if tensor.dtype.kind == "f" else tensor
        for name, tensor in load_file(weights).items()
    }
    save_file(scaled, weights, metadata={"format": "pt", "for": request.node.name})
    return own


@pytest.fixture
def published(registry: Registry, model: Path, tmp_path: Path) -> str:
    return publish(model, registry, tmp_path / "layout")
