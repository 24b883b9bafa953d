"""Agents on a Ray cluster that has none: Ray runs one on each node, and a control plane where none is given."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent import futures
from dataclasses import dataclass
from typing import Any

from modeldist.errors import AgentError, ErrorInfo, UsageError
from modeldist.ray.agent_actor import AgentActor, NodeAgent
from modeldist.ray.cluster import actor_anywhere, actor_on, alive, connected_ray, head, named
from modeldist.ray.control_actor import ControlActor, Joining
from modeldist.ray.watching import Watch

_AGENT, _CONTROL, _KEEPER = "agent:", "control:", "keeper:"
_PATIENCE = 60.0  # seconds that `stop_agents` gives an actor to end what it runs


@dataclass(frozen=True)
class Agents:
    """What runs. `control` is the control plane's URL; `nodes` are the agents by Ray's id of their node."""

    control: str
    nodes: Mapping[str, NodeAgent]


def start_agents(
    control: str | None = None,
    token: str | None = None,
    *,
    agent_options: Sequence[str] = (),
    server_options: Sequence[str] = (),
    timeout: float | None = 120.0,
) -> Agents:
    """Have Ray run an agent on every node, also on those that join later, until `stop_agents`. Returns when all have
    joined the control plane. It may be called again, by any program.

    `control`, `token`: URL of a control plane and the agents' token for it; without them one is run on the head node,
    with TLS. `agent_options`, `server_options`: more words for the command lines of `modeldist agent` and `modeldist
    server`. A node where an agent runs already keeps that one. `timeout`: seconds for all of it.

    Raises UsageError; AgentError, ControlPlaneError with the last words of what does not start; AgentError after
    `timeout` (what has started goes on).
    """
    if (control is None) != (token is None):
        raise UsageError("A control plane needs its agent token, and the other way round.", remedy="Give both.")
    if control is not None and server_options:
        raise UsageError("server_options are for a control plane that Ray runs.", remedy="Leave out one of the two.")
    wanted = Wanted(control, token, tuple(agent_options), tuple(server_options))
    waiting = _Waiting(timeout)
    joining = _joining(wanted, waiting)
    keeper = actor_anywhere(_KEEPER, Keeper, wanted, joining)
    running = waiting.answered(keeper.wanted.remote().future(), "the actor that watches the nodes")
    if running != wanted:
        raise UsageError(
            "Agents were started on this Ray cluster with other options.", remedy="Call stop_agents() first."
        )
    asked = {
        node: agent_on(node, address, joining, wanted).ready.remote().future() for node, address in alive().items()
    }
    nodes = {node: waiting.answered(answer, f"the agent of the node {node}") for node, answer in asked.items()}
    return Agents(joining.url, nodes)


def stop_agents() -> None:
    """End what `start_agents` began, and every other actor of ours: nodes that join get nothing more. Models stay on
    the nodes, and the control plane's state on its node."""
    ray = connected_ray()
    for prefix in ("follow:", _KEEPER, "pulls:"):
        for actor in named(prefix).values():
            ray.kill(actor)
    for prefix in (_AGENT, _CONTROL):
        actors = list(named(prefix).values())
        futures.wait([actor.stop.remote().future() for actor in actors], _PATIENCE)
        for actor in actors:
            ray.kill(actor)


@dataclass(frozen=True)
class Wanted:
    """What `start_agents` was given."""

    control: str | None
    token: str | None
    agent_options: tuple[str, ...]
    server_options: tuple[str, ...]


class Keeper:
    """The class of the actor that has agents started on nodes which join."""

    def __init__(self, wanted: Wanted, joining: Joining) -> None:
        self._wanted = wanted
        self._watch: Watch[NodeAgent] = Watch(
            lambda node, address: agent_on(node, address, joining, wanted).ready.remote().future()
        )

    async def wanted(self) -> Wanted:
        return self._wanted


def agent_on(node: str, address: str, joining: Joining, wanted: Wanted) -> Any:
    """The actor that runs the agent there."""
    return actor_on(node, _AGENT + node, AgentActor, node, address, joining, wanted.agent_options)


def _joining(wanted: Wanted, waiting: _Waiting) -> Joining:
    if wanted.control is not None and wanted.token is not None:
        return Joining(wanted.control, wanted.token)
    node, address = head()
    actor = actor_on(node, _CONTROL, ControlActor, address, wanted.server_options)
    answer: Joining = waiting.answered(actor.ready.remote().future(), "the control plane")
    return answer


class _Waiting:
    """For several answers, no longer than `timeout` seconds together."""

    def __init__(self, timeout: float | None) -> None:
        self._timeout = timeout
        self._until = None if timeout is None else time.monotonic() + timeout

    def answered(self, future: futures.Future[Any], whose: str) -> Any:
        from ray.exceptions import RayError

        try:
            answer = future.result(None if self._until is None else max(0.0, self._until - time.monotonic()))
        except futures.TimeoutError:
            raise AgentError(
                f"After {self._timeout:g} seconds there is no sign of {whose}.",
                remedy="It goes on; call again, or give it longer.",
            ) from None
        except RayError as error:
            raise AgentError(f"Ray lost {whose}: {error}", remedy="Call again.") from error
        if isinstance(answer, ErrorInfo):
            raise answer.as_error().about(whose[0].upper() + whose[1:])
        return answer
