"""Models onto the nodes of a Ray cluster, where agents run, before anything is served from there."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from modeldist.ray.asking import ask
from modeldist.ray.cluster import Nodes
from modeldist.ray.copies import Prefetched


def prefetch(
    references: str | Sequence[str],
    nodes: Nodes = "all",
    *,
    socket: Path | str | None = None,
    timeout: float | None = None,
) -> list[Prefetched]:
    """Put models on nodes of the Ray cluster that this program is connected to, and wait until they are there.

    `nodes`: Ray's ids of them (`NodeID` of `ray.nodes()`), all that are alive, or the one `here`. An agent runs on
    each; `socket` is its socket there, else MODELDIST_SOCKET of the raylet or the default. `timeout`: seconds for all
    of it.

    However many programs and replicas ask at once, a node's agent is asked for a reference once. One answer for each
    reference, in order; repeated ones count once.

    Raises UsageError; NotFound of a node; the first failure of a node, which names it, when all nodes have ended;
    PullFailed after `timeout` (the pulls go on) and of a node that is lost.
    """
    return ask(references, nodes, socket).wait(timeout)


async def prefetch_async(
    references: str | Sequence[str], nodes: Nodes = "all", *, socket: Path | str | None = None
) -> list[Prefetched]:
    """As `prefetch`, for programs with an event loop, which it does not stop. Who is cancelled, as by
    `asyncio.timeout`, stops no pull."""
    asked = await asyncio.to_thread(ask, references, nodes, socket)
    return await asked.wait_async()


def local_path(reference: str, *, socket: Path | str | None = None, timeout: float | None = None) -> Path:
    """The model's directory on this node, once it is there: for an actor, a task or a deployment that loads it."""
    return prefetch(reference, "here", socket=socket, timeout=timeout)[0].path


async def local_path_async(reference: str, *, socket: Path | str | None = None) -> Path:
    """As `local_path`, for programs with an event loop."""
    return (await prefetch_async(reference, "here", socket=socket))[0].path
