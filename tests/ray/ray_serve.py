"""Ray Serve on four nodes: replicas load a real model from the path where a prefetch has put it.

A registry's log is the witness that it was read once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import ray
from ray import serve
from safetensors import safe_open

from modeldist.errors import AgentError, ModeldistError, UsageError
from modeldist.ray import followed, local_path, multiplexed, prefetch, unfollow
from tests.ray.conftest import NODES
from tests.ray.machines import Machines
from tests.ray.raylets import Raylets
from tests.servers.cluster import wait_until
from tests.servers.oci_faults import FaultyRegistry
from tests.servers.registry import Registry

TENSOR = "embeddings.word_embeddings.weight"


def read_of(registry: Registry, digest: str) -> int:
    return sum(access.bytes for access in registry.access_log() if access.method == "GET" and access.blob == digest)


def row_sum(path: Path) -> float:
    """Of the word "hello", whose token is 7592."""
    with safe_open(path / "model.safetensors", framework="np") as tensors:
        return float(tensors.get_tensor(TENSOR)[7592].sum())


@serve.deployment(
    num_replicas=NODES + 1, max_replicas_per_node=1, ray_actor_options={"num_cpus": 0}, health_check_period_s=60
)
class Embeddings:
    def __init__(self, reference: str) -> None:
        self.path = local_path(reference)
        self.sum = row_sum(self.path)

    def __call__(self) -> tuple[str, str, float]:
        return str(ray.get_runtime_context().get_node_id()), str(self.path), self.sum


def test_replicas_on_four_nodes_load_the_real_model_which_was_read_once(
    machines: Machines, raylets: Raylets, serving: None, registry: Registry, model: Path, published: str
) -> None:
    (prefetched,) = prefetch(published, follow=True)
    index = len(machines.agents)
    joined = raylets.join(machines.environment_inside(index), machines.command(index))
    try:
        wait_until("the missing agent to be told of", lambda: joined in followed()[0].failures, seconds=60)
        assert isinstance(followed()[0].failures[joined], AgentError)
        machines.add()
        wait_until("the node that joined to have it", lambda: joined in followed()[0].copies, seconds=90)
        assert followed()[0].failures == {}
        handle = serve.run(Embeddings.bind(published), name="embeddings", route_prefix=None)
        answers: dict[str, tuple[str, float]] = {}

        def everybody_answered() -> bool:
            node, path, total = handle.remote().result(timeout_s=60)
            answers[node] = (path, total)
            return len(answers) == NODES + 1

        wait_until("every replica", everybody_answered, seconds=60)
        assert joined in answers
        assert set(answers.values()) == {(str(prefetched.path), row_sum(model))}
        sizes = {each.blob for each in registry.access_log() if each.blob}
        read = {digest: read_of(registry, digest) for digest in sizes}
        weights = (model / "model.safetensors").stat().st_size
        assert [size for size in read.values() if size > 1_000_000] == [weights]
    finally:
        serve.delete("embeddings")
        unfollow(prefetched.resolved)
        raylets.leave(len(raylets) - 1)


async def answer(ask: Callable[[str], Awaitable[str]]) -> str:
    try:
        return await ask(serve.get_multiplexed_model_id())
    except ModeldistError as error:
        return error.code


@serve.deployment(ray_actor_options={"num_cpus": 0})
class Several:
    @multiplexed(lambda model_id: model_id.replace("~", "/"), max_num_models_per_replica=1)
    async def model(self, model_id: str, path: Path) -> str:
        return (path / "config.json").read_text()

    async def __call__(self) -> str:
        return await answer(self.model)


@serve.deployment(ray_actor_options={"num_cpus": 0})
class OfOneOrganisation:
    @multiplexed("127.0.0.1:1/org/{model_id}:v1")
    async def model(self, model_id: str, path: Path) -> str:
        return model_id

    async def __call__(self) -> str:
        return await answer(self.model)


def asked(handle: Any, model_id: str) -> Any:
    return handle.options(multiplexed_model_id=model_id).remote().result(timeout_s=60)


def test_multiplexed_models_come_when_a_request_names_them(serving: None, faulty: FaultyRegistry) -> None:
    for name in ("one", "two"):
        faulty.add_model(f"org/{name}", "v1", {"config.json": f'"{name}"'.encode(), "model.safetensors": b"x"})
    handle = serve.run(Several.bind(), name="several", route_prefix=None)
    try:
        for name in ("one", "two", "one"):
            assert asked(handle, f"{faulty.host}~org~{name}:v1") == f'"{name}"'
        assert asked(handle, f"{faulty.host}~org~three:v1") == "not_found"
    finally:
        serve.delete("several")


def test_a_model_id_of_a_request_cannot_change_the_reference(serving: None) -> None:
    handle = serve.run(OfOneOrganisation.bind(), name="one", route_prefix=None)
    try:
        for hostile in ("x:v2", "a/b", "x#only=*", "../x", "x\n", "x@sha256:0"):
            assert asked(handle, hostile) == "invalid_reference"
        assert asked(handle, "fine.v1_2-3") == "origin_unavailable"
    finally:
        serve.delete("one")


def test_a_reference_that_is_the_same_for_every_model_is_refused() -> None:
    with pytest.raises(UsageError, match=r"Put \{model_id\}"):
        multiplexed("registry.example/org/model:v1")
