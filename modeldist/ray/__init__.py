"""Ray: models on the nodes of a Ray cluster before they are served.

May import agent and what that may; imports ray inside functions, so that the room can be looked at without it.

    copies.py        what a prefetch says: where each model is on each node
    cluster.py       the Ray cluster: its nodes, and an actor of ours on each
    node_pulls.py    the actor of one node: one pull of a reference at a time, whoever asks for it
    asking.py        one prefetch: which nodes were asked for what, and what they answered
    catching_up.py   which nodes still need something, and when to ask again: pure
    watching.py      has every node get something, those that join later among them
    following.py     the actor that has nodes get what was prefetched before they joined
    prefetching.py   prefetch() and local_path(), each also for async programs
    agents.py        agents where there are none: start_agents(), stop_agents()
    agent_actor.py   the actor that runs the agent of a node
    control_actor.py the actor that runs a control plane; certificate.py is what it shows
    kept_process.py  a command that an actor keeps running; tied.py is that command, and ends with the actor
    pulling.py       one pull by the agent of this node
    runtime_env.py   a plugin of Ray's runtime environments
    serve_llm.py     a callback of Ray Serve LLM
    serving.py       multiplexed models of Ray Serve
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modeldist.ray.agent_actor import NodeAgent
    from modeldist.ray.agents import Agents, start_agents, stop_agents
    from modeldist.ray.copies import NodeCopy, Prefetched
    from modeldist.ray.following import Followed, followed, unfollow
    from modeldist.ray.prefetching import local_path, local_path_async, prefetch, prefetch_async
    from modeldist.ray.runtime_env import EnvPlugin
    from modeldist.ray.serve_llm import PrefetchCallback
    from modeldist.ray.serving import multiplexed

__all__ = [
    "Agents",
    "EnvPlugin",
    "Followed",
    "NodeAgent",
    "NodeCopy",
    "PrefetchCallback",
    "Prefetched",
    "followed",
    "local_path",
    "local_path_async",
    "multiplexed",
    "prefetch",
    "prefetch_async",
    "start_agents",
    "stop_agents",
    "unfollow",
]

_HOMES = {
    "Agents": "agents",
    "EnvPlugin": "runtime_env",
    "PrefetchCallback": "serve_llm",
    "NodeAgent": "agent_actor",
    "start_agents": "agents",
    "stop_agents": "agents",
    "Followed": "following",
    "followed": "following",
    "unfollow": "following",
    "NodeCopy": "copies",
    "Prefetched": "copies",
    "local_path": "prefetching",
    "local_path_async": "prefetching",
    "multiplexed": "serving",
    "prefetch": "prefetching",
    "prefetch_async": "prefetching",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
