"""What the Ray tests share: machines with agents, and raylets on them."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from tests.ray.machines import Machines
from tests.ray.raylets import Raylets
from tests.servers.oci_faults import FaultyRegistry

NODES = 3
WEIGHTS = Random("weights").randbytes(3_000_000)


@pytest.fixture(scope="session")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    with Machines(tmp_path_factory.mktemp("machines"), agents=NODES) as running:
        yield running


@pytest.fixture(scope="session")
def raylets(machines: Machines) -> Iterator[Raylets]:
    """Connected to."""
    with Raylets() as running:
        for index in range(NODES):
            running.join(machines.environment_inside(index), machines.command(index))
        yield running


@pytest.fixture
def reference(faulty: FaultyRegistry, request: pytest.FixtureRequest) -> str:
    """Of a model that nobody has yet."""
    repository = f"org/{request.node.name.replace('_', '-')}"
    faulty.add_model(repository, "v1", {"config.json": b"{}", "model.safetensors": WEIGHTS + repository.encode()})
    return f"{faulty.host}/{repository}:v1"
