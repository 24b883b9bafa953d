"""The Ray cluster that this program is connected to: its nodes, and actors of ours on them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent import futures
from contextlib import suppress
from typing import Any, Literal

from modeldist.errors import NotFound, Unsupported, UsageError

NAMESPACE = "modeldist"
"""Of our named actors, so that programs of any namespace find the same ones."""

Nodes = Sequence[str] | Literal["all", "here"]
"""Ray's ids of nodes, or all that are alive, or the one that this program runs on."""


def not_installed() -> Unsupported:
    return Unsupported(
        "Ray is not installed here.", remedy="Install modeldist with its extra: pip install '.[ray]' in a checkout."
    )


def connected_ray() -> Any:
    """The module. Raises Unsupported where it is not installed, UsageError without a connection."""
    try:
        import ray
    except ModuleNotFoundError:
        raise not_installed() from None
    if not ray.is_initialized():
        raise UsageError("This program is not connected to a Ray cluster.", remedy="Call ray.init() first.")
    return ray


def alive() -> dict[str, str]:
    """Addresses of the nodes that are alive, by Ray's id."""
    return {each["NodeID"]: str(each["NodeManagerAddress"]) for each in connected_ray().nodes() if each["Alive"]}


def chosen(nodes: Nodes) -> dict[str, str]:
    """Addresses of these nodes, by Ray's id. Raises NotFound of one that is not alive, UsageError."""
    known = alive()
    if nodes == "all":
        return known
    if nodes == "here":
        nodes = [str(connected_ray().get_runtime_context().get_node_id())]
    if isinstance(nodes, str):
        raise UsageError(f"{nodes!r} is no list of nodes.", remedy='Give Ray\'s ids of nodes, "all", or "here".')
    if not nodes:
        raise UsageError("No node was named.", remedy='Give Ray\'s ids of nodes, "all", or "here".')
    for node in nodes:
        if node not in known:
            raise NotFound(f"The Ray cluster has no node {node} that is alive.", remedy="`ray list nodes` shows them.")
    return {node: known[node] for node in dict.fromkeys(nodes)}


def actor_on(node: str, name: str, kind: type[Any], *arguments: Any) -> Any:
    """The actor of this name, on this node and no other."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return _actor(name, kind, arguments, NodeAffinitySchedulingStrategy(node_id=node, soft=False))


def actor_anywhere(name: str, kind: type[Any], *arguments: Any) -> Any:
    """The actor of this name: on this program's node as long as that lives, then on any other."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = str(connected_ray().get_runtime_context().get_node_id())
    where = NodeAffinitySchedulingStrategy(node_id=here, soft=True)
    return _actor(name, kind, arguments, where, max_task_retries=-1)  # who asks while it is started again waits


def outcome(future: futures.Future[Any]) -> Any:
    """What an actor answered, which it has, or the RayError that says it is gone."""
    from ray.exceptions import RayError

    try:
        return future.result()
    except RayError as error:
        return error


def head() -> tuple[str, str]:
    """Ray's id and the address of the node that the cluster began with; of this program's, where that is not known."""
    nodes = [node for node in connected_ray().nodes() if node["Alive"]]
    first = [str(node["NodeID"]) for node in nodes if "node:__internal_head__" in node["Resources"]]
    (found,) = chosen(first[:1] or "here").items()
    return found


def named(prefix: str) -> dict[str, Any]:
    """Our actors whose names begin so, by the rest of the name."""
    ray = connected_ray()
    names = [each["name"] for each in ray.util.list_named_actors(all_namespaces=True) if each["namespace"] == NAMESPACE]
    found = {}
    for name in names:
        if name.startswith(prefix):
            with suppress(ValueError):  # it has just gone
                found[name.removeprefix(prefix)] = ray.get_actor(name, NAMESPACE)
    return found


def _actor(name: str, kind: type[Any], arguments: tuple[Any, ...], where: Any, max_task_retries: int = 0) -> Any:
    """Made by whoever comes first, started again where it dies, kept when programs end. It takes no CPU of Ray's, or a
    full cluster could never be prefetched to."""
    return (
        connected_ray()
        .remote(kind)
        .options(
            name=name,
            namespace=NAMESPACE,
            get_if_exists=True,
            lifetime="detached",
            max_restarts=-1,
            max_task_retries=max_task_retries,
            max_concurrency=1000,
            num_cpus=0,
            scheduling_strategy=where,
        )
        .remote(*arguments)
    )
