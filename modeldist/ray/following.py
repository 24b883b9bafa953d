"""Nodes that join a Ray cluster later get what was prefetched to it.

One detached actor for each model that is followed. All that it must know is in its arguments, so it goes on when Ray
starts it again, on another node if need be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modeldist.errors import ErrorInfo, ModeldistError, NotFound
from modeldist.ray.asking import pulls_on
from modeldist.ray.cluster import actor_anywhere, connected_ray, named
from modeldist.ray.copies import NodeCopy
from modeldist.ray.watching import Watch

_PREFIX = "follow:"


@dataclass(frozen=True)
class Followed:
    """A model that nodes get when they join. `resolved` is what they get: that which the others have, also where a tag
    has moved on. By Ray's id of the node: `copies`, and why it is not there yet (`failures`; it is tried again)."""

    resolved: str
    copies: Mapping[str, NodeCopy]
    failures: Mapping[str, ModeldistError]


def follow(resolved: str, socket: Path | str | None) -> None:
    """From now on, until `unfollow`. It may be said again."""
    place = None if socket is None else str(socket)
    actor_anywhere(_PREFIX + resolved, Follower, resolved, place)


def followed() -> list[Followed]:
    """The models that nodes get when they join, and how far each has come."""
    ray = connected_ray()
    followers = named(_PREFIX)
    states = ray.get([actor.state.remote() for actor in followers.values()])
    return [
        Followed(resolved, copies, {node: info.as_error() for node, info in failures.items()})
        for resolved, (copies, failures) in zip(followers, states, strict=True)
    ]


def unfollow(resolved: str) -> None:
    """Nodes that join get it no more; what is on nodes stays. Raises NotFound where it was not followed."""
    actor = named(_PREFIX).get(resolved)
    if actor is None:
        raise NotFound(
            f"{resolved} is not followed on this Ray cluster.",
            remedy="Give it as `followed()` and `Prefetched.resolved` say it, with its digest or commit.",
        )
    connected_ray().kill(actor)


class Follower:
    """The actor's class."""

    def __init__(self, resolved: str, socket: str | None) -> None:
        self._watch: Watch[NodeCopy] = Watch(lambda node, _: pulls_on(node, socket).pull.remote(resolved).future())

    async def state(self) -> tuple[dict[str, NodeCopy], dict[str, ErrorInfo]]:
        return self._watch.state()
