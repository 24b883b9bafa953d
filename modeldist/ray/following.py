"""Nodes that join a Ray cluster later get what was prefetched to it.

One detached actor for each model that is followed. All that it must know is in its arguments, so it goes on when Ray
starts it again, on another node if need be.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from concurrent import futures
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modeldist.errors import ErrorInfo, ModeldistError, NotFound, PullFailed
from modeldist.ray.asking import pulls_on, taken
from modeldist.ray.catching_up import CatchingUp
from modeldist.ray.cluster import actor_anywhere, alive, connected_ray, named
from modeldist.ray.copies import NodeCopy

_PREFIX = "follow:"
_EVERY = 1.0  # seconds between looks at the cluster's nodes


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
        self._resolved = resolved
        self._socket = socket
        self._catching_up = CatchingUp()
        self._asked: dict[futures.Future[Any], str] = {}  # nodes, by the answer to come
        self._changing = threading.Lock()
        threading.Thread(target=self._run, daemon=True).start()

    async def state(self) -> tuple[dict[str, NodeCopy], dict[str, ErrorInfo]]:
        with self._changing:
            return dict(self._catching_up.copies), dict(self._catching_up.failures)

    def _run(self) -> None:
        while True:
            began = time.monotonic()
            self._look(began)
            self._hear(_EVERY)
            time.sleep(max(0.0, began + _EVERY - time.monotonic()))

    def _look(self, now: float) -> None:
        nodes = alive()
        with self._changing:
            due = self._catching_up.due(nodes, now)
        for node in due:
            self._asked[pulls_on(node, self._socket).pull.remote(self._resolved).future()] = node

    def _hear(self, seconds: float) -> None:
        ended, _ = futures.wait(self._asked, seconds, futures.FIRST_COMPLETED)
        for future in ended:
            answer, node = taken(future), self._asked.pop(future)
            if isinstance(answer, Exception):
                answer = PullFailed(f"The node was lost, or the actor there: {answer}").info()
            with self._changing:
                self._catching_up.ended(node, answer, time.monotonic())
