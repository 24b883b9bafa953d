"""Models onto the nodes of a Ray cluster, where agents run, before anything is served from there."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from modeldist.errors import UsageError
from modeldist.ray.asking import ask
from modeldist.ray.cluster import Nodes
from modeldist.ray.copies import Prefetched
from modeldist.ray.following import follow as begin_to_follow


def prefetch(
    references: str | Sequence[str],
    nodes: Nodes = "all",
    *,
    socket: Path | str | None = None,
    timeout: float | None = None,
    follow: bool = False,
) -> list[Prefetched]:
    """Put models on nodes of the Ray cluster that this program is connected to, and wait until they are there.

    `nodes`: Ray's ids of them (`NodeID` of `ray.nodes()`), all that are alive, or the one `here`. An agent runs on
    each; `socket` is its socket there, else MODELDIST_SOCKET of the raylet or the default. `timeout`: seconds for all
    of it. `follow`: with all nodes, have those that join later get the same, until `unfollow`.

    However many programs and replicas ask at once, a node's agent is asked for a reference once. One answer for each
    reference, in order; repeated ones count once.

    Raises UsageError; NotFound of a node; the first failure of a node, which names it, when all nodes have ended;
    PullFailed after `timeout` (the pulls go on) and of a node that is lost.
    """
    _only_with_all(follow, nodes)
    found = ask(references, nodes, socket).wait(timeout)
    return _followed(found, socket) if follow else found


async def prefetch_async(
    references: str | Sequence[str], nodes: Nodes = "all", *, socket: Path | str | None = None, follow: bool = False
) -> list[Prefetched]:
    """As `prefetch`, for programs with an event loop, which it does not stop. Who is cancelled, as by
    `asyncio.timeout`, stops no pull."""
    _only_with_all(follow, nodes)
    asked = await asyncio.to_thread(ask, references, nodes, socket)
    found = await asked.wait_async()
    return await asyncio.to_thread(_followed, found, socket) if follow else found


def local_path(reference: str, *, socket: Path | str | None = None, timeout: float | None = None) -> Path:
    """The model's directory on this node, once it is there: for an actor, a task or a deployment that loads it."""
    return prefetch(reference, "here", socket=socket, timeout=timeout)[0].path


async def local_path_async(reference: str, *, socket: Path | str | None = None) -> Path:
    """As `local_path`, for programs with an event loop."""
    return (await prefetch_async(reference, "here", socket=socket))[0].path


def _only_with_all(follow: bool, nodes: Nodes) -> None:
    if follow and nodes != "all":
        raise UsageError("Nodes that join are followed for all nodes or not at all.", remedy='Leave out nodes="…".')


def _followed(found: list[Prefetched], socket: Path | str | None) -> list[Prefetched]:
    for resolved in [each.resolved for each in found]:  # nothing is followed where one has several meanings
        begin_to_follow(resolved, socket)
    return found
